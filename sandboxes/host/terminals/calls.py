"""The host's calls about terminals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import orjson

from sandboxes.host import wire
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.live import Live
from sandboxes.host.terminals.audience import Watcher
from sandboxes.host.terminals.recording import Recordings
from sandboxes.host.terminals.session import Session
from sandboxes.host.terminals.types import Size, TerminalRequest, Visitor
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError

#: For whoever was told that a terminal is closed, to leave by themselves.
_LEAVE_SECONDS: Final = 5.0


async def _open(host: Host, call: Call) -> None:
    size = Size(call.number("rows"), call.number("columns"))
    request = TerminalRequest(call.text("terminal_id"), size, call.text("cwd"))
    row = await host.live(call.sandbox_id).terminals.open(request, actor=call.actor)
    host.prune_recordings()
    await call.send({"ok": True}, orjson.dumps(row.to_json()))


async def _list(host: Host, call: Call) -> None:
    """Of a sandbox that has ended, the recordings that are left."""
    live = host.served(call.sandbox_id)
    recordings = Recordings(host.maker.places.recordings / call.sandbox_id)
    read = live.terminals.all if live else recordings.all
    await call.send({"ok": True}, orjson.dumps([row.to_json() for row in read()]))


async def _close(host: Host, call: Call) -> None:
    await host.live(call.sandbox_id).terminals.shut(call.text("terminal_id"))
    await call.send({"ok": True})


async def _recording(host: Host, call: Call) -> None:
    recordings = Recordings(host.maker.places.recordings / call.sandbox_id)
    read = partial(recordings.read, call.text("terminal_id"), offset=max(0, call.number("offset")))
    data, size = await in_thread(host.threads, read)
    await call.send({"ok": True, "size": size}, data)


async def _attend(host: Host, call: Call) -> None:
    """Until the terminal is closed or the caller leaves. A paused sandbox's screen shows too."""
    live = host.found(call.sandbox_id)
    session = live.terminals.find(call.text("terminal_id"))
    page = call.text("page") if "page" in call.header else ""
    visitor = Visitor(call.actor, call.flag("drives"), call.text("seat"), page)
    entered: asyncio.Future[Watcher] = asyncio.get_running_loop().create_future()
    showing = asyncio.ensure_future(session.attend(visitor, call.send, entered.set_result))
    hearing = asyncio.ensure_future(_hear(live, session, entered, call))
    try:
        await asyncio.wait({showing, hearing}, return_when=asyncio.FIRST_COMPLETED)
        if showing.done() and showing.exception() is None:
            # Whoever still says something to a connection that is gone loses what it was told last.
            await asyncio.wait({hearing}, timeout=_LEAVE_SECONDS)
            return
        for task in (showing, hearing):
            if task.done():
                task.result()
    finally:
        for task in (showing, hearing):
            task.cancel()
        await asyncio.gather(showing, hearing, return_exceptions=True)


async def _hear(live: Live, session: Session, entered: asyncio.Future[Watcher], call: Call) -> None:
    watcher = await entered
    while (frame := await wire.read_frame(call.reader)) is not None:
        said = Call(frame, call.reader, call.writer)
        kind = said.text("kind")
        try:
            _SAID[kind](live, session, watcher, said)
        except KeyError:
            raise HostError("invalid", "A terminal knows no such word; update it.") from None


def _type(live: Live, session: Session, watcher: Watcher, said: Call) -> None:
    """While it is paused the keys go back to who sent them."""
    try:
        live.pause.check()
    except HostError as error:
        watcher.refuse(said.payload, code=error.code, message=error.message)
    else:
        session.type(watcher, said.payload)


def _from(live: Live, session: Session, watcher: Watcher, said: Call) -> None:
    session.type_from(watcher, said.number("bytes"))


def _resize(live: Live, session: Session, watcher: Watcher, said: Call) -> None:
    if live.pause.state is None:
        session.resize(watcher, Size(said.number("rows"), said.number("columns")))


def _ack(live: Live, session: Session, watcher: Watcher, said: Call) -> None:
    watcher.acknowledge(said.number("bytes"))


def _take(live: Live, session: Session, watcher: Watcher, said: Call) -> None:
    session.take_over(watcher)


_SAID: Final[Mapping[str, Callable[[Live, Session, Watcher, Call], None]]] = {
    "type": _type,
    "from": _from,
    "resize": _resize,
    "ack": _ack,
    "take": _take,
}

CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[Any]]]] = {
    "terminal_open": _open,
    "terminal_list": _list,
    "terminal_close": _close,
    "terminal_recording": _recording,
    "terminal_attend": _attend,
}
