"""The addresses of ``/v1``, each of which answers in JSON whatever is asked of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path

from sandboxes.api.api import api
from sandboxes.api.errors import Answer, failure

View = Callable[..., Awaitable[HttpResponseBase]]

_LATER: Final = re.compile(
    r"sandboxes/(?:(?:snapshots|volumes|webhooks)(?:/.*)?"
    r"|[^/]+/(?:pause|resume|metrics|host|commands.*|code.*|snapshots|files/presign-.*))"
)


def _in_json(view: View) -> View:
    """Django's own refusal of a method is plain text."""

    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await view(request, *args, **kwargs)
        if response.status_code == 405 and not response.get("Content-Type", "").endswith("json"):
            allowed = response["Allow"]
            response = failure(Answer(405), f"{request.method} is not allowed here; use {allowed}.")
            response["Allow"] = allowed
        return response

    return answer


async def no_route(request: HttpRequest, rest: str) -> HttpResponse:
    """Everything else below ``/v1``."""
    if _LATER.fullmatch(rest):
        return failure(Answer(501, "not_available"), "This is not available on this host yet.")
    return failure(
        Answer(404), f"There is no {request.method} {request.path[:200]}; see /v1/openapi.json."
    )


def _patterns() -> list[URLPattern]:
    patterns = api.urls[0]
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and pattern.name != "openapi-json":
            pattern.callback = _in_json(pattern.callback)
    return [one for one in patterns if isinstance(one, URLPattern)]


app_name: Final = "ninja"  # by which ninja finds its own addresses
urlpatterns: Final = [*_patterns(), re_path(r"^(?P<rest>.*)$", no_route)]
