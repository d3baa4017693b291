"""All terminals of one sandbox. They live on whoever watches, and through a restart of the host."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import SPAWN_PTY, TERMINAL, Answer, Ask, Ended, lost, text, texts
from sandboxes.host.agent.link import Link
from sandboxes.host.files import check_path
from sandboxes.host.positions import Position, Positions
from sandboxes.host.terminals.audience import Send, Watcher
from sandboxes.host.terminals.recorder import Recorder, Seen, seen_in
from sandboxes.host.terminals.recording import Recordings
from sandboxes.host.terminals.session import RETRY_SECONDS, Session
from sandboxes.host.terminals.types import (
    TerminalInfo,
    TerminalRequest,
    Visitor,
    check_terminal_id,
    no_such_terminal,
)
from sandboxes.host.types import Box, HostError
from timeline.events import Actor, now_us

#: Terminals of one sandbox that may be open at once.
OPEN: Final = 16
#: HUP, two seconds, KILL, and time to take note of it.
CLOSE_SECONDS: Final = 10.0
_ENV: Final = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}

log = logging.getLogger(__name__)


class Terminals:
    """Use from one event loop."""

    def __init__(self, box: Box, *, recordings: Path) -> None:
        self._box = box
        self.recordings = Recordings(recordings)
        self._open: dict[str, Session] = {}
        self._recalled: list[Session] = []
        self._positions = Positions(box.directory / "terminals")

    # ---- for callers --------------------------------------------------------------------------

    async def open(self, request: TerminalRequest, *, actor: Actor) -> TerminalInfo:
        """Starts a shell. Raises ``HostError``."""
        check_terminal_id(request.terminal_id)
        check_path(request.cwd)
        if request.terminal_id in self._open:
            raise HostError("invalid", "A terminal with this id is open; choose another id.")
        if len(self._open) >= OPEN:
            raise HostError("busy", f"{OPEN} terminals are open here; close one of them first.")
        try:
            position = self._positions.take()
            at = now_us()
            recorder = Recorder(self._box, position, self.recordings, request, actor, at=at)
            recorder.begin()
        except OSError as error:
            raise _no_record(error) from error
        session = Session(self._box, recorder)
        self._begin(session, self._drive(session))
        await asyncio.shield(session.opened)
        return self._info(session)

    @property
    def open_count(self) -> int:
        """How many have not ended, those of a host before this one included."""
        return len(self._open) + len(self._recalled)

    def all(self) -> list[TerminalInfo]:
        """All that are open or recorded, in the order in which they were opened."""
        rows = {row.id: row for row in self.recordings.all()}
        rows |= {session.id: self._info(session) for session in self._open.values()}
        return sorted(rows.values(), key=lambda row: (row.opened_at, row.id))

    def _info(self, session: Session) -> TerminalInfo:
        audience = session.audience
        watchers = len(audience.watchers)
        return replace(session.recorder.info(), driver=audience.driver_name, watchers=watchers)

    async def attend(
        self, terminal_id: str, visitor: Visitor, send: Send, ready: Callable[[Watcher], None]
    ) -> None:
        """Watches one, see ``Session.attend``. Raises ``HostError``."""
        await self.find(terminal_id).attend(visitor, send, ready)

    def find(self, terminal_id: str) -> Session:
        """One that is open. Raises ``HostError`` (no_such_terminal)."""
        session = self._open.get(terminal_id)
        if session is None:
            raise no_such_terminal()
        return session

    async def shut(self, terminal_id: str) -> None:
        """Hangs up; returns when it is over. Raises ``HostError``."""
        session = self._open.get(check_terminal_id(terminal_id))
        if session is None or session.task is None:
            return
        with suppress(HostError):  # it ended meanwhile, or its agent did, which ends it too
            await questions.kill(self._box.agent_socket, terminal_id)
        _, late = await asyncio.wait({session.task}, timeout=CLOSE_SECONDS)
        if late:
            raise HostError("internal", "The terminal did not close in time; ask again.")

    # ---- for the host -------------------------------------------------------------------------

    def recall(self) -> None:
        """The first half of ``recover``, while a pause keeps the agent from answering."""
        self._recalled = self._restore_all()

    @property
    def recalled(self) -> bool:
        """Whether terminals wait for ``recover``."""
        return bool(self._recalled)

    async def recover(self) -> None:
        """Goes on with the terminals of a host that was killed. Call before the journal is shipped.

        Those that were recalled in a pause go on with this too; without any it does nothing more.
        """
        sessions = self._recalled or self._restore_all()
        self._recalled = []
        try:
            known = {entry.command_id for entry in await questions.listed(self._box.agent_socket)}
        except HostError:
            known = set()
        for session in sessions:
            self._begin(session, self._resume(session, attach=session.id in known))
        for terminal_id in known - set(self._open):
            if terminal_id.startswith(TERMINAL):
                with suppress(HostError):
                    await questions.forget(self._box.agent_socket, terminal_id)

    def _restore_all(self) -> list[Session]:
        seen = seen_in(self._box.journal.scan())
        found = (self._restore(position, seen) for position in self._positions.left())
        return [session for session in found if session is not None]

    def _restore(self, position: Position, seen: Mapping[str, Seen]) -> Session | None:
        try:
            recorder = Recorder.restore(self._box, position, self.recordings, seen)
        except (ValueError, KeyError, TypeError, OSError, HostError) as error:
            log.warning("%s is of no use: %s", position.path, error)
            recorder = None
        if recorder is None or recorder.is_over:
            self._positions.give_back(position)
            return None
        session = Session(self._box, recorder)
        session.restore_screen()
        if recorder.driver:
            actor = Actor.from_json(recorder.driver["actor"])
            session.audience.hold(Visitor(actor, drives=True, seat=recorder.driver["seat"]))
        return session

    async def settled(self, seconds: float = 5.0) -> bool:
        """Waits until every terminal's end is recorded; False when that takes longer."""
        tasks = [session.task for session in self._open.values() if session.task]
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=seconds)
        return not late

    async def close(self) -> None:
        """Stops following. The shells go on; a later ``recover`` completes their records."""
        sessions = [*self._open.values(), *self._recalled]
        tasks = [session.task for session in sessions if session.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in sessions:
            with suppress(OSError):
                session.recorder.flush()
            session.close()
            session.recorder.position.close()
        self._open.clear()
        self._recalled = []
        self._positions.close()

    # ---- one terminal -------------------------------------------------------------------------

    def _begin(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        self._open[session.id] = session
        session.task = asyncio.create_task(work, name=f"terminal {session.id}")
        session.task.add_done_callback(lambda task: self._surprised(session, task))

    def _surprised(self, session: Session, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        log.error("terminal %s is no longer followed", session.id, exc_info=task.exception())
        self._open.pop(session.id, None)
        session.audience.tell("closed", lost=True)
        if not session.opened.done():
            session.opened.set_exception(
                HostError("internal", "The host failed to follow the terminal; report this.")
            )
        session.close()

    async def _drive(self, session: Session) -> None:
        try:
            session.link = await Link.open(self._box.agent_socket)
            await session.link.send(Ask.SPAWN, self._spawn_frame(session.recorder.request))
            await self._started(session)
        except HostError as error:
            self._drop(session)
            self.recordings.path(session.id).unlink(missing_ok=True)
            self.recordings.path(session.id).with_suffix(".json").unlink(missing_ok=True)
            session.opened.set_exception(error)
        else:
            await self._follow(session)

    def _spawn_frame(self, request: TerminalRequest) -> bytes:
        env = {**self._box.env, **_ENV}
        head = struct.pack("<IQHH", SPAWN_PTY, 0, request.size.rows, request.size.columns)
        words = text(request.terminal_id) + text(request.cwd) + text("")
        return head + words + texts([f"{name}={value}" for name, value in env.items()])

    async def _started(self, session: Session) -> None:
        assert session.link is not None  # noqa: S101 - both callers have just opened it
        subject = session.recorder.request.cwd
        pid = session.started(await session.link.expect(Answer.STARTED, subject=subject))
        try:
            session.recorder.opened(pid, session.recorder.actor.name)
        except OSError as error:
            with suppress(HostError):
                await questions.kill(self._box.agent_socket, session.id)
            raise _no_record(error) from error
        if not session.opened.done():
            session.opened.set_result(pid)

    async def _resume(self, session: Session, *, attach: bool) -> None:
        """Takes up one terminal after a restart. One that never began leaves no trace."""
        recorder = session.recorder
        try:
            if not attach:
                raise lost("it has no such terminal")
            session.link = await Link.open(self._box.agent_socket)
            payload = text(session.id) + struct.pack("<Q", recorder.offset)
            await session.link.send(Ask.ATTACH, payload)
            await self._started(session)
        except HostError as error:
            if recorder.was_opened:
                await self._finish(session, error)
            else:
                self._drop(session)
        else:
            await self._follow(session)

    async def _follow(self, session: Session) -> None:
        try:
            ended: Ended | HostError = await session.receive()
        except HostError as error:
            ended = error
        await self._finish(session, ended)

    async def _finish(self, session: Session, ended: Ended | HostError) -> None:
        known, error = (None, ended.code) if isinstance(ended, HostError) else (ended, None)
        while True:
            try:
                session.recorder.finish(known, error=error, watchers=session.audience.names)
            except OSError as trouble:
                log.warning("the end of terminal %s is not recorded yet: %s", session.id, trouble)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        session.show_rest()
        session.forget()
        session.audience.tell(
            "closed",
            lost=known is None,
            exit_code=known.exit_code if known else None,
            signal=known.signal if known else None,
        )
        self._drop(session)

    def _drop(self, session: Session) -> None:
        session.close()
        self._open.pop(session.id, None)
        with suppress(OSError):
            self._positions.give_back(session.recorder.position)


def _no_record(error: OSError) -> HostError:
    log.error("a terminal cannot be recorded: %s", error)
    return HostError("internal", "The host cannot record the terminal; free space on its disk.")
