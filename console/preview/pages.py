"""What a visitor gets where no sandbox answers: a page for people, JSON for programs."""

from __future__ import annotations

from typing import Any, Final

import orjson
from django.http import HttpResponse
from django.template.loader import render_to_string

from console.asgi_types import Scope
from sandboxes.api.errors import answer_for

#: Tells a program that it is not the sandbox that speaks.
MARK: Final = "x-orkestr-preview"
_TITLES: Final = {
    "not_listening": "Nothing listens here yet",
    "not_answering": "No answer in time",
    "bad_answer": "This is no HTTP",
    "plan_limit": "Not in the plan",
    "usage_exhausted": "The credit is used up",
    "busy": "Too many connections at once",
    401: "This preview is locked",
    404: "No such preview",
    409: "Not running just now",
    410: "This sandbox is over",
}
#: What gets better by itself; a page of it asks again.
_AGAIN: Final = {"not_listening": 3, "busy": 5, "host_unreachable": 5}
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def refused(error: Exception, scope: Scope, *, port: int | None) -> HttpResponse:
    """``error`` as the API answers it, or as a page that says the same."""
    answer = answer_for(error)
    body: dict[str, Any] = orjson.loads(answer.content)
    code = body.get("code", "")
    if _reads_html(scope):
        context = {
            "title": _TITLES.get(code) or _TITLES.get(answer.status_code, "Not reachable just now"),
            "detail": body["detail"],
            "code": code,
            "port": port,
            "again": _AGAIN.get(code),
        }
        answer.content = render_to_string("preview/refused.html", context).encode()
        answer["Content-Type"] = "text/html; charset=utf-8"
        answer["Content-Length"] = str(len(answer.content))
    answer["Cache-Control"] = "no-store"
    answer["Content-Security-Policy"] = _POLICY
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-Content-Type-Options"] = "nosniff"
    answer[MARK] = code or "refused"
    return answer


def _reads_html(scope: Scope) -> bool:
    accepts = [value for name, value in scope["headers"] if name == b"accept"]
    return any(b"text/html" in value for value in accepts)
