"""Images in events: from inside a sandbox, so only what is surely a PNG of sane size is shown."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import Final

_HEAD: Final = struct.Struct(">8sI4sII")
_HEAD_CHARACTERS: Final = 32
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
#: A small file can unpack into gigabytes.
_PIXELS: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """``source`` is a data URL."""

    source: str
    width: int
    height: int


def picture(png: object) -> Picture | None:
    """A PNG in base64 as something to show; None for anything else."""
    if not isinstance(png, str) or not _BASE64.fullmatch(png):
        return None
    try:
        head = base64.b64decode(png[:_HEAD_CHARACTERS])
        magic, _, chunk, width, height = _HEAD.unpack(head)
    except (binascii.Error, ValueError, struct.error):
        return None
    if magic != b"\x89PNG\r\n\x1a\n" or chunk != b"IHDR" or not 0 < width * height <= _PIXELS:
        return None
    return Picture(f"data:image/png;base64,{png}", width, height)
