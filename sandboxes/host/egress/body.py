"""The body of an answer, freed of its framing, from a server that nobody trusts."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sandboxes.host.egress.channel import Channel, TooLongError
from sandboxes.host.egress.request import FIELDS_LIMIT, Response

_LINE_LIMIT = 256


async def pieces(source: Channel, response: Response) -> AsyncGenerator[bytes, None]:
    """Never an empty one. Raises ``ConnectionError`` for a body cut short or malformed."""
    if response.chunked:
        async for piece in _chunked(source):
            yield piece
    elif response.length is not None:
        async for piece in _exactly(source, response.length):
            yield piece
    else:
        while await source.more():
            yield source.take()


async def _exactly(source: Channel, count: int) -> AsyncGenerator[bytes, None]:
    while count > 0:
        if not await source.more():
            raise ConnectionResetError("the server ended its answer early")
        data = source.take(count)
        count -= len(data)
        yield data


async def _chunked(source: Channel) -> AsyncGenerator[bytes, None]:
    while size := _size(await _line(source)):
        async for piece in _exactly(source, size):
            yield piece
        if await _line(source):
            raise ConnectionResetError("a chunk is longer than it says")
    for _ in range(FIELDS_LIMIT):
        if not await _line(source):
            return
    raise ConnectionResetError("there are too many trailers")


async def _line(source: Channel) -> bytes:
    try:
        return await source.line(_LINE_LIMIT)
    except (TooLongError, EOFError) as error:
        raise ConnectionResetError("the server's chunks are malformed") from error


def _size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].rstrip(b" \t")
    if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
        raise ConnectionResetError("a chunk's size is malformed")
    return int(digits, 16)
