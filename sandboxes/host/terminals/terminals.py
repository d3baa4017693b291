"""All terminals of one sandbox. They live on whoever watches, and through a restart of the host."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import SPAWN_PTY, TERMINAL, Ended, text, texts
from sandboxes.host.files import check_path
from sandboxes.host.following import Following, no_record
from sandboxes.host.positions import Position
from sandboxes.host.terminals.audience import Send, Watcher
from sandboxes.host.terminals.recorder import Recorder, seen_in
from sandboxes.host.terminals.recording import Recordings
from sandboxes.host.terminals.session import Session
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


class Terminals(Following[Session]):
    """Use from one event loop."""

    def __init__(self, box: Box, *, recordings: Path) -> None:
        super().__init__(box, box.directory / "terminals")
        self.recordings = Recordings(recordings)

    # ---- for callers --------------------------------------------------------------------------

    async def open(self, request: TerminalRequest, *, actor: Actor) -> TerminalInfo:
        """Starts a shell. Raises ``HostError``."""
        check_terminal_id(request.terminal_id)
        check_path(request.cwd)
        if request.terminal_id in self._followed:
            raise HostError("invalid", "A terminal with this id is open; choose another id.")
        if len(self._followed) >= OPEN:
            raise HostError("busy", f"{OPEN} terminals are open here; close one of them first.")
        try:
            position = self._positions.take()
            at = now_us()
            recorder = Recorder(self._box, position, self.recordings, request, actor, at=at)
            recorder.begin()
        except OSError as error:
            raise no_record("terminal", error) from error
        session = Session(self._box, recorder)
        self._begin(session, self._drive(session, self._spawn_frame(request)))
        await asyncio.shield(session.opened)
        return self._info(session)

    def all(self) -> list[TerminalInfo]:
        """All that are open or recorded, in the order in which they were opened."""
        rows = {row.id: row for row in self.recordings.all()}
        rows |= {session.id: self._info(session) for session in self._followed.values()}
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
        session = self._followed.get(terminal_id)
        if session is None:
            raise no_such_terminal()
        return session

    async def shut(self, terminal_id: str) -> None:
        """Hangs up; returns when it is over. Raises ``HostError``."""
        session = self._followed.get(check_terminal_id(terminal_id))
        if session is None or session.task is None:
            return
        with suppress(HostError):  # it ended meanwhile, or its agent did, which ends it too
            await questions.kill(self._box.agent_socket, terminal_id)
        _, late = await asyncio.wait({session.task}, timeout=CLOSE_SECONDS)
        if late:
            raise HostError("internal", "The terminal did not close in time; ask again.")

    # ---- one terminal -------------------------------------------------------------------------

    def _is_own(self, name: str) -> bool:
        return name.startswith(TERMINAL)

    def _restorer(self) -> Callable[[Position], Session | None]:
        seen = seen_in(self._box.journal.scan())

        def restore(position: Position) -> Session | None:
            recorder = Recorder.restore(self._box, position, self.recordings, seen)
            if recorder is None or recorder.is_over:
                return None
            session = Session(self._box, recorder)
            session.restore_screen()
            if recorder.driver:
                actor = Actor.from_json(recorder.driver["actor"])
                session.audience.hold(Visitor(actor, drives=True, seat=recorder.driver["seat"]))
            return session

        return restore

    def _spawn_frame(self, request: TerminalRequest) -> bytes:
        env = {**self._box.env, **_ENV}
        head = struct.pack("<IQHH", SPAWN_PTY, 0, request.size.rows, request.size.columns)
        words = text(request.terminal_id) + text(request.cwd) + text("")
        return head + words + texts([f"{name}={value}" for name, value in env.items()])

    def _refused(self, one: Session, error: HostError) -> None:
        recording = self.recordings.path(one.id)
        for path in (recording, recording.with_suffix(".json")):
            path.unlink(missing_ok=True)
        super()._refused(one, error)

    async def _tell_end(self, one: Session, ended: Ended | HostError) -> None:
        known = None if isinstance(ended, HostError) else ended
        one.show_rest()
        one.audience.tell(
            "closed",
            lost=known is None,
            exit_code=known.exit_code if known else None,
            signal=known.signal if known else None,
        )
        self._drop(one)
