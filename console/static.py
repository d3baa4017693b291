"""Static files straight from ASGI, so that pages do not pass through a synchronous middleware."""

from __future__ import annotations

import asyncio
import re
from typing import BinaryIO

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from whitenoise import WhiteNoise
from whitenoise.responders import Response

from console.asgi_types import Receive, Scope, Send

_CHUNK_BYTES = 64 * 1024
_HASHED = re.compile(r"\.[0-9a-f]{12}\.[^/]+$")


class StaticFiles:
    """Serves what `collectstatic` left, or the sources themselves when it has not run."""

    def __init__(self) -> None:
        self.prefix: str = settings.STATIC_URL
        collected = settings.STATIC_ROOT.is_dir()
        self._files = WhiteNoise(
            None,
            autorefresh=not collected,
            max_age=60 if collected else 0,
            immutable_file_test=lambda _path, url: bool(_HASHED.search(url)),
        )
        for root in [settings.STATIC_ROOT] if collected else _source_folders():
            self._files.add_files(str(root), prefix=self.prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await asyncio.to_thread(
            self._respond,
            scope["path"],
            scope["method"],
            _as_environ(scope["headers"]),
        )
        await _send(response, send)

    def _respond(self, path: str, method: str, environ: dict[str, str]) -> Response:
        file = (
            self._files.find_file(path) if self._files.autorefresh else self._files.files.get(path)
        )
        if file is None:
            return Response(404, [("Content-Type", "text/plain")], None)
        return file.get_response(method, environ)


def _source_folders() -> list[str]:
    folders: list[str] = []
    for finder in get_finders():
        storages = getattr(finder, "storages", {})
        folders.extend(storage.location for storage in storages.values())
    return folders[::-1]


def _as_environ(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """WhiteNoise reads request headers by their WSGI names."""
    return {
        "HTTP_" + name.decode("latin1").upper().replace("-", "_"): value.decode("latin1")
        for name, value in headers
    }


async def _send(response: Response, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode("latin1")) for name, value in response.headers]
    await send(
        {
            "type": "http.response.start",
            "status": int(response.status),
            "headers": [*headers, (b"x-content-type-options", b"nosniff")],
            "trailers": False,
        }
    )
    if response.file is not None:
        await _send_file(response.file, send)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_file(file: BinaryIO, send: Send) -> None:
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        file.close()
