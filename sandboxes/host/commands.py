"""Runs commands in one sandbox and records them, whoever waits for them and whatever happens.

Each command has a task of its own that speaks to the agent, writes the record and hands bytes to
the caller; a caller that leaves changes nothing for it. After a restart ``recover`` gives every
command that still runs, or ended meanwhile, such a task again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import closing, suppress

from sandboxes.host.agent import questions
from sandboxes.host.agent.feeder import Feeder
from sandboxes.host.agent.frames import KERNEL, TERMINAL, Answer, Ended, Output, lost
from sandboxes.host.background import Background
from sandboxes.host.following import RETRY_SECONDS, Followed, Following, no_record
from sandboxes.host.output import GATHER_BYTES, GATHER_SECONDS, TIMELINE_LIMIT
from sandboxes.host.positions import Position
from sandboxes.host.recorder import Recorder, seen_in
from sandboxes.host.requests import check, spawn_frame
from sandboxes.host.sinks import Buffer, Nobody, Reader, Sink
from sandboxes.host.types import (
    Box,
    ExecEvent,
    ExecOutcome,
    ExecRequest,
    Exited,
    HostError,
    Started,
)
from timeline.events import Actor, Kind, NewEvent, now_us

log = logging.getLogger(__name__)


class _Command(Followed):
    """A running command: its record, its connection, and those who wait for it."""

    noun = "command"

    def __init__(self, recorder: Recorder, sink: Sink, background: Background) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.recorder = recorder
        self.sink = sink
        self.pid: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._background = background if recorder.request.background else None
        self._timer: asyncio.TimerHandle | None = None
        for future in (self.pid, self.ended):  # nobody need be waiting when one fails
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def id(self) -> str:
        return self.recorder.request.command_id

    @property
    def cwd(self) -> str:
        return self.recorder.request.cwd

    @property
    def offset(self) -> int:
        return self.recorder.offset

    @property
    def was_begun(self) -> bool:
        return self.recorder.was_started

    @property
    def position(self) -> Position:
        return self.recorder.position

    def begun(self, pid: int) -> None:
        self.recorder.started(pid)
        if self._background is not None:
            self._background.started(self.recorder.request, pid=pid, at=self.recorder.at)
        if not self.pid.done():
            self.pid.set_result(pid)

    def fail(self, error: HostError) -> None:
        for future in (self.pid, self.ended):
            if not future.done():
                future.set_exception(error)
        if isinstance(self.sink, Reader):
            self.sink.fail(error)

    def lose(self) -> None:
        """Whoever waits for it was told by ``fail``."""

    async def receive(self) -> Ended:
        assert self.link is not None  # noqa: S101 - it was begun by it
        while True:
            kind, payload = await self.link.receive()
            if kind is Answer.EXITED:
                return Ended.parse(payload)
            if kind is not Answer.OUTPUT:
                raise lost("an answer to another question")
            output = Output.parse(payload, expected=self.recorder.offset)
            self._take(output)
            await self.sink.put(output.stream, output.data)

    def _take(self, output: Output) -> None:
        """Gathers, and flushes when there is enough or soon."""
        self.recorder.gather(output.stream, output.data)
        if self.recorder.gathered.size >= GATHER_BYTES:
            self.flush()
        elif self._timer is None:
            self._flush_in(GATHER_SECONDS)

    def _flush_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.flush)

    def flush(self) -> bool:
        """Records, then acknowledges. With no space on the host the command comes to wait."""
        self._cancel_timer()
        try:
            offset = self.recorder.flush()
        except OSError as error:
            log.warning("command %s is not recorded yet: %s", self.id, error)
            self._flush_in(RETRY_SECONDS)
            return False
        if self._background is not None:
            self._background.wrote(self.id)
        if self.link is not None:
            self.link.acknowledge(offset)
        return True

    def finish(self, ended: Ended | None, *, error: str | None) -> None:
        self._cancel_timer()
        if self._background is not None:
            # Before the journal: whose last word makes a next host forget the command.
            self.recorder.flush()
            self._background.ended(self.id, ended)
        self.recorder.finish(ended, error=error)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self._cancel_timer()
        if self.link is not None:
            self.link.close()
        self.recorder.close()


class Commands(Following[_Command]):
    """All commands of one sandbox. Use from one event loop."""

    def __init__(self, box: Box, *, timeline_limit: int = TIMELINE_LIMIT) -> None:
        super().__init__(box, Recorder.directory(box))
        self._limit = timeline_limit
        self.background = Background(box)

    @property
    def count(self) -> int:
        """How many commands run."""
        return len(self._followed)

    # ---- for callers --------------------------------------------------------------------------

    async def run(self, request: ExecRequest, *, actor: Actor) -> ExecOutcome:
        """Runs a command and waits for it. Leaving early does not stop it. Raises ``HostError``."""
        with closing(Buffer()) as buffer:
            command = self._launch(request, actor, buffer)
            try:
                ended = await asyncio.shield(command.ended)
            except asyncio.CancelledError:
                command.sink = Nobody()
                raise
            return buffer.outcome(ended)

    async def stream(
        self, request: ExecRequest, *, actor: Actor
    ) -> AsyncGenerator[ExecEvent, None]:
        """The same, with its output as it comes. A slow reader slows the command down.

        Closing the iterator leaves the command running to its own timeout.
        """
        reader = Reader()
        command = self._launch(request, actor, reader)
        try:
            yield Started(await asyncio.shield(command.pid))
            while True:
                event = await reader.next()
                yield event
                if isinstance(event, Exited):
                    return
        finally:
            command.sink = Nobody()
            reader.leave()

    async def start(self, request: ExecRequest, *, actor: Actor) -> int:
        """Starts a command that nobody waits for, and answers its pid. Raises ``HostError``.

        One whose request says ``background`` can be found in ``background`` from then on.
        """
        command = self._launch(request, actor, Nobody())
        return await asyncio.shield(command.pid)

    async def kill(self, command_id: str) -> None:
        """TERM to the command's process group, KILL two seconds later."""
        await questions.kill(self._box.agent_socket, command_id)

    async def feed(self, command_id: str) -> Feeder:
        """The stdin of a command that was started with one."""
        return await Feeder.open(self._box.agent_socket, command_id, self._box.ties)

    @property
    def running(self) -> list[str]:
        """Ids of the commands whose end is not recorded yet."""
        return sorted(self._followed)

    async def close(self) -> None:
        await super().close()
        self.background.close()

    # ---- one command --------------------------------------------------------------------------

    def _launch(self, request: ExecRequest, actor: Actor, sink: Sink) -> _Command:
        check(request)
        frame = spawn_frame(request, self._box.env)
        if request.command_id in self._followed:
            message = "A command with this id runs already; choose another id."
            raise HostError("invalid", message)
        try:
            recorder = Recorder(
                self._box,
                self._positions.take(),
                request,
                actor,
                at=now_us(),
                limit=self._limit,
            )
            recorder.begin()
        except OSError as error:
            raise no_record("command", error) from error
        command = _Command(recorder, sink, self.background)
        self._begin(command, self._drive(command, frame))
        return command

    def _is_own(self, name: str) -> bool:
        return not name.startswith((TERMINAL, KERNEL))

    def _restorer(self) -> Callable[[Position], _Command | None]:
        seen = seen_in(self._box.journal.scan())

        def restore(position: Position) -> _Command | None:
            recorder = Recorder.restore(self._box, position, seen, limit=self._limit)
            if recorder is None or recorder.is_over:
                return None
            return _Command(recorder, Nobody(), self.background)

        return restore

    def _took_up(self) -> None:
        self.background.finish_all_but(set(self._followed))

    def _refused(self, one: _Command, error: HostError) -> None:
        if error.code == "pids_exhausted":
            limit = {"limit": "pids", "value": self._box.pids, "cap": self._box.pids}
            data = {**limit, "detail": error.message}
            event = NewEvent(kind=Kind.LIMIT_HIT, data=data, actor=one.recorder.actor)
            with suppress(OSError):
                self._box.journal.append(event)
        super()._refused(one, error)

    async def _tell_end(self, one: _Command, ended: Ended | HostError) -> None:
        self._drop(one)
        if isinstance(one.sink, Reader):
            await one.sink.end(ended)
        if isinstance(ended, HostError):
            one.fail(ended)
        elif not one.ended.done():
            one.ended.set_result(ended)
