"""The host's calls that carry a whole file, piece by piece, at the pace of the slower side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from sandboxes.host import wire
from sandboxes.host.agent.transfers import Download, Upload
from sandboxes.host.calls import STALLED_SECONDS, Call
from sandboxes.host.daemon import Host
from sandboxes.host.types import HostError

#: How long what a refused caller still sends is thrown away, so that it gets to see why.
_LINGER_SECONDS: Final = 20.0
_LARGEST: Final = 1 << 62


async def _download(host: Host, call: Call) -> None:
    """``size`` is of the whole file; at most ``length`` bytes from ``offset`` on follow, an end."""
    files = host.live(call.sandbox_id).files
    path, offset, length = call.text("path"), _size(call, "offset"), _size(call, "length")
    async with files.reading(path, offset=offset, actor=call.actor) as download:
        meta = download.meta
        header = {"size": meta.size, "mode": meta.mode, "modified_at": meta.modified_at}
        await call.send({"ok": True, **header})
        await _send(call, download, min(length, max(0, meta.size - offset)))
    await call.send({"kind": "end"})


async def _send(call: Call, download: Download, left: int) -> None:
    """No more than was said, though the file may have grown."""
    while left > 0 and (piece := await download.next(left)):
        left -= len(piece)
        await call.send({"kind": "data"}, piece)


async def _upload(host: Host, call: Call) -> None:
    """Answers twice: that the place is fine, then, after all pieces and an end, that it is done."""
    files = host.live(call.sandbox_id).files
    path, size, mode = call.text("path"), _size(call, "size"), call.number("mode")
    async with files.writing(path, size=size, mode=mode, actor=call.actor) as upload:
        await call.send({"ok": True})
        try:
            is_whole = await _receive(call, upload)
            if is_whole:
                await upload.finish()
        except HostError as error:
            await call.send(wire.error_header(error))
            await _throw_away(call)
            return
    if is_whole:
        await call.send({"ok": True, "size": size})


async def _receive(call: Call, upload: Upload) -> bool:
    """False when the caller left before the end."""
    while True:
        async with asyncio.timeout(STALLED_SECONDS):
            frame = await wire.read_frame(call.reader)
        if frame is None:
            return False
        if frame.header.get("kind") == "end":
            return True
        await upload.put(frame.payload)


async def _throw_away(call: Call) -> None:
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while await call.reader.read(wire.HEADER_LIMIT):
                pass


def _size(call: Call, name: str) -> int:
    value = call.number(name)
    if not 0 <= value <= _LARGEST:
        raise HostError("invalid", f"The field {name} is out of range.")
    return value


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "download": _download,
    "upload": _upload,
}
