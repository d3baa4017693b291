"""What every connection through the proxy does: read a message's head, pass bytes on."""

from __future__ import annotations

from sandboxes.host.egress import request
from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.request import RequestError


async def read_head(channel: Channel) -> bytes:
    """Everything up to the empty line, which is taken too. Raises ``RequestError``, ``EOFError``.

    What no message may hold is refused as soon as it is seen, not when time runs out.
    """
    have = 0
    while (end := channel.pending.find(b"\r\n\r\n")) < 0:
        if channel.pending and not 0x41 <= channel.pending[0] <= 0x5A:
            raise RequestError("This is not an HTTP message.")
        if request.stray(channel.pending, max(0, have - 1)):
            raise RequestError("Lines must end with CR LF.", reason="smuggling")
        if len(channel.pending) > request.HEAD_LIMIT:
            break
        have = len(channel.pending)
        if not await channel.more(have):
            raise EOFError
    if end < 0 or end > request.HEAD_LIMIT:
        raise RequestError("The header is too large.", status=431, reason="head_too_large")
    return channel.take(end + 4)[:-4]


async def pump(source: Channel, sink: Channel) -> None:
    """Pass bytes until ``source`` ends, as fast as ``sink`` takes them. A break ends both."""
    try:
        while await source.more():
            await sink.write(source.take())
        sink.end()
    except ConnectionError:
        source.abort()
        sink.abort()
