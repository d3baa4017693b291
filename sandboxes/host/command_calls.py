"""The host's calls that run a command and wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from sandboxes.host import wire
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.types import ExecEvent


async def _exec(host: Host, call: Call) -> None:
    """A caller that leaves does not stop the command, so nobody looks whether it does."""
    live = host.live(call.sandbox_id)
    outcome = await live.commands.run(call.exec_request(), actor=call.actor)
    row = {
        "stdout_dropped": outcome.stdout_dropped,
        "stderr_dropped": outcome.stderr_dropped,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "duration_ms": outcome.duration_ms,
        "timed_out": outcome.timed_out,
    }
    await call.write_frame({"ok": True, "outcome": row}, outcome.stdout)
    await call.write_frame({"ok": True}, outcome.stderr)


async def _exec_stream(host: Host, call: Call) -> None:
    live = host.live(call.sandbox_id)
    events = live.commands.stream(call.exec_request(), actor=call.actor)
    sending = asyncio.ensure_future(_send_events(call, events))
    leaving = asyncio.ensure_future(call.reader.read(1))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_events(call: Call, events: AsyncIterator[ExecEvent]) -> None:
    try:
        async for event in events:
            await call.write(wire.pack_exec_event(event))
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "exec": _exec,
    "exec_stream": _exec_stream,
}
