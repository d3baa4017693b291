"""Messages of websockets as bytes, made once for however many peers."""

from __future__ import annotations

import struct
from functools import lru_cache


@lru_cache(maxsize=4)
def framed(payload: bytes) -> bytes:
    """A text message on the wire (RFC 6455, 5.2): the same bytes for all who get it."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", 0x81, length) + payload
    if length < 2**16:
        return struct.pack("!BBH", 0x81, 126, length) + payload
    return struct.pack("!BBQ", 0x81, 127, length) + payload
