"""How a file is described to who asks for it, and which part of it is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from django.utils.http import http_date

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
#: A file is whatever the sandbox made of it: it is saved, never shown as a page of ours.
_SAFE: Final = {
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
    "Accept-Ranges": "bytes",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about parts: its headers Range and If-Range, empty without them."""

    range: str = ""
    if_range: str = ""

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> Asked:
        found = (headers.get(name, b"").decode("latin1") for name in (b"range", b"if-range"))
        return cls(*found)


@dataclass(frozen=True, slots=True)
class File:
    """``modified_at`` in Unix seconds."""

    path: str
    size: int
    modified_at: float

    @property
    def etag(self) -> str:
        return f'"{self.size:x}-{int(self.modified_at * 1e6):x}"'

    def part(self, asked: Asked) -> tuple[int, int] | None:
        """Offset and length of what is asked for; None when the file has no such part.

        More parts than one, and what is no range of bytes, is answered with the whole.
        """
        match = _RANGE.fullmatch(asked.range.replace(" ", ""))
        is_stale = asked.if_range not in ("", self.etag)
        if match is None or is_stale or not any(match.groups()):
            return 0, self.size
        first, last = match.groups()
        begin = int(first) if first else max(0, self.size - int(last))
        end = min(int(last) + 1, self.size) if first and last else self.size
        if first and last and int(last) < begin:
            return 0, self.size
        return (begin, end - begin) if begin < end else None

    def headers(self, *, offset: int, length: int) -> dict[str, str]:
        """Of an answer with this part of it."""
        name = self.path.rsplit("/", 1)[-1]
        plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
        headers = {
            **_SAFE,
            "Content-Length": str(length),
            "Content-Disposition": (
                f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
            ),
            "Last-Modified": http_date(max(0.0, min(self.modified_at, 4e9))),
            "ETag": self.etag,
        }
        if length != self.size:
            headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{self.size}"
        return headers
