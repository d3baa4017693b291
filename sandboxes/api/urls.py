"""The addresses of ``/v1``, each of which answers in JSON whatever is asked of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path

from sandboxes.api.api import api
from sandboxes.api.errors import Answer, failure

View = Callable[..., Awaitable[HttpResponseBase]]


def _in_json(view: View) -> View:
    """Django's own refusal of a method is plain text."""

    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await view(request, *args, **kwargs)
        if response.status_code == 405:
            allowed = response["Allow"]
            response = failure(Answer(405), f"{request.method} is not allowed here; use {allowed}.")
            response["Allow"] = allowed
        return response

    return answer


async def no_route(request: HttpRequest) -> HttpResponse:
    """Everything else below ``/v1``."""
    return failure(
        Answer(404), f"There is no {request.method} {request.path[:200]}; see /v1/openapi.json."
    )


def _patterns() -> list[URLPattern]:
    """ninja's own, by whose names it finds its addresses again."""
    patterns = [one for one in api.urls[0] if isinstance(one, URLPattern)]
    for pattern in patterns:
        if pattern.name == "api-root":
            pattern.callback = no_route
        elif pattern.name != "openapi-json":
            pattern.callback = _in_json(pattern.callback)
    return patterns


app_name: Final = "ninja"
urlpatterns: Final = [*_patterns(), re_path(r"", no_route)]
