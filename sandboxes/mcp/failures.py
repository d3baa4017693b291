"""What went wrong, as a tool's result: the sentence and ``code`` that `/v1` answers with."""

from __future__ import annotations

from typing import Any, Final

import orjson
from django.http import HttpResponse
from mcp_types import CallToolResult, TextContent

META: Final = "orkestr/error"
_SHOWN: Final = ("stdout", "stderr")


def failed(response: HttpResponse) -> CallToolResult:
    """``sandboxes.api.errors`` makes ``response``; a model reads the text, a program ``_meta``."""
    body: dict[str, Any] = orjson.loads(response.content)
    meta = {META: {"status": response.status_code, **body}}
    return CallToolResult(
        content=[TextContent(type="text", text=_text(body))], is_error=True, _meta=meta
    )


def _text(body: dict[str, Any]) -> str:
    code, retry = body.get("code"), body.get("retry_after")
    parts = [body["detail"] + (f" ({code})" if code else "")]
    if retry:
        parts.append(f"Try again in {retry} seconds.")
    parts += [f"{name} until then:\n{body[name]}" for name in _SHOWN if body.get(name)]
    return "\n".join(parts)
