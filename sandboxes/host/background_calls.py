"""The host's calls about background commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

import orjson

from sandboxes.host import wire
from sandboxes.host.background import Background
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.types import ExecEvent, HostError


async def _start(host: Host, call: Call) -> None:
    commands = host.live(call.sandbox_id).commands
    request = call.exec_request()
    await commands.start(request, actor=call.actor)
    row = commands.background.find(request.command_id)
    await call.send({"ok": True}, orjson.dumps(row.to_json()))


async def _list(host: Host, call: Call) -> None:
    rows = [row.to_json() for row in _background(host, call).list()]
    await call.send({"ok": True}, orjson.dumps(rows))


async def _find(host: Host, call: Call) -> None:
    row = _background(host, call).find(call.text("command_id"))
    await call.send({"ok": True}, orjson.dumps(row.to_json()))


async def _kill(host: Host, call: Call) -> None:
    await _background(host, call).kill(call.text("command_id"))
    await call.send({"ok": True})


async def _read(host: Host, call: Call) -> None:
    found = _background(host, call).read(call.text("command_id"), offset=_offset(call))
    header = {"ok": True, "size": found.size, "is_over": found.is_over}
    await call.send(header, found.data)


async def _follow(host: Host, call: Call) -> None:
    """Until its end; a caller that leaves is noticed though the command says nothing."""
    background = _background(host, call)
    events = background.follow(call.text("command_id"), offset=_offset(call))
    async with aclosing(events):
        await call.while_listened_to(_send(call, events))


async def _send(call: Call, events: AsyncIterator[ExecEvent]) -> None:
    async for event in events:
        await call.write(wire.pack_exec_event(event))


def _background(host: Host, call: Call) -> Background:
    return host.live(call.sandbox_id).commands.background


def _offset(call: Call) -> int:
    offset = call.number("offset")
    if not 0 <= offset < 1 << 62:
        raise HostError("invalid", "The offset must be 0 or more; leave it out to begin.")
    return offset


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "background_start": _start,
    "background_list": _list,
    "background_find": _find,
    "background_kill": _kill,
    "background_read": _read,
    "background_follow": _follow,
}
