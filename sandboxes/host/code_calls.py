"""The host's calls about cells and their contexts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

import orjson

from sandboxes.host import wire
from sandboxes.host.calls import Call
from sandboxes.host.code.interpreter import Interpreter
from sandboxes.host.code.types import CodeRequest, Told
from sandboxes.host.daemon import Host
from sandboxes.host.types import HostError


async def _run(host: Host, call: Call) -> None:
    """Outputs as they come. A caller that leaves is noticed though the code says nothing."""
    events = _interpreter(host, call).stream(_request(call), actor=call.actor)
    async with aclosing(events):
        await call.while_listened_to(_send(call, events))


async def _send(call: Call, events: AsyncIterator[Told]) -> None:
    async for told in events:
        await call.write(wire.pack({"kind": told.kind}, orjson.dumps(told.body)))


async def _list(host: Host, call: Call) -> None:
    rows = [info.to_json() for info in _interpreter(host, call).list()]
    await call.send({"ok": True}, orjson.dumps(rows))


async def _create(host: Host, call: Call) -> None:
    name, cwd = call.text("context_id"), call.text("cwd")
    info = await _interpreter(host, call).create(name, cwd=cwd, actor=call.actor)
    await call.send({"ok": True}, orjson.dumps(info.to_json()))


async def _restart(host: Host, call: Call) -> None:
    info = await _interpreter(host, call).restart(call.text("context_id"), actor=call.actor)
    await call.send({"ok": True}, orjson.dumps(info.to_json()))


async def _remove(host: Host, call: Call) -> None:
    await _interpreter(host, call).remove(call.text("context_id"), actor=call.actor)
    await call.send({"ok": True})


def _interpreter(host: Host, call: Call) -> Interpreter:
    return host.live(call.sandbox_id).code


def _request(call: Call) -> CodeRequest:
    """The code itself is the payload."""
    try:
        code = call.payload.decode()
    except UnicodeDecodeError as error:
        raise HostError("invalid", "The field code must be UTF-8.") from error
    return CodeRequest(
        cell_id=call.text("cell_id"),
        code=code,
        context_id=call.text("context_id"),
        timeout_seconds=call.number("timeout_seconds"),
    )


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "code_run": _run,
    "code_stream": _run,
    "code_list": _list,
    "code_create": _create,
    "code_restart": _restart,
    "code_remove": _remove,
}
