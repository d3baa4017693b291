"""A file that a browser keeps, written while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable

from django.http import StreamingHttpResponse


def download(
    pieces: AsyncIterable[bytes] | Iterable[bytes], *, name: str, content_type: str
) -> StreamingHttpResponse:
    """``name`` is what the file is called, and holds no quotation mark. No cache keeps it."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }
    return StreamingHttpResponse(pieces, content_type=content_type, headers=headers)
