"""Runs commands in one sandbox and records them, whoever waits for them and whatever happens.

Each command has a task of its own that speaks to the agent, writes the record and hands bytes to
the caller; a caller that leaves changes nothing for it. After a restart ``recover`` gives every
command that still runs, or ended meanwhile, such a task again.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import TERMINAL, Answer, Ask, Ended, Fields, Output, lost, text
from sandboxes.host.agent.link import Link
from sandboxes.host.background import Background
from sandboxes.host.output import GATHER_BYTES, GATHER_SECONDS, TIMELINE_LIMIT
from sandboxes.host.positions import Position, Positions
from sandboxes.host.recorder import Recorder, Seen, seen_in
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

#: Seconds between attempts while the host's disk is full.
RETRY_SECONDS: Final = 1.0


class _Command:
    """A running command: its record, its connection, and those who wait for it."""

    def __init__(self, recorder: Recorder, sink: Sink) -> None:
        loop = asyncio.get_running_loop()
        self.recorder = recorder
        self.sink = sink
        self.link: Link | None = None
        self.partings = 0  # of the commands' when ``link`` was opened
        self.pid: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.wrote: Callable[[], None] = _nobody_reads
        for future in (self.pid, self.ended):  # nobody need be waiting when one fails
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def id(self) -> str:
        return self.recorder.request.command_id

    def fail(self, error: HostError) -> None:
        for future in (self.pid, self.ended):
            if not future.done():
                future.set_exception(error)
        if isinstance(self.sink, Reader):
            self.sink.fail(error)

    def take(self, output: Output) -> None:
        """Gathers, and flushes when there is enough or soon."""
        self.recorder.gather(output.stream, output.data)
        if self.recorder.gathered.size >= GATHER_BYTES:
            self.flush()
        elif self.timer is None:
            self._flush_in(GATHER_SECONDS)

    def _flush_in(self, seconds: float) -> None:
        self.timer = asyncio.get_running_loop().call_later(seconds, self.flush)

    def flush(self) -> None:
        """Records, then acknowledges. With no space on the host the command comes to wait."""
        self.cancel_timer()
        try:
            offset = self.recorder.flush()
        except OSError as error:
            log.warning("command %s is not recorded yet: %s", self.id, error)
            self._flush_in(RETRY_SECONDS)
            return
        self.wrote()
        if self.link is not None:
            self.link.acknowledge(offset)

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close(self) -> None:
        self.cancel_timer()
        if self.link is not None:
            self.link.close()
        self.recorder.close()


class Commands:
    """All commands of one sandbox. Use from one event loop."""

    def __init__(self, box: Box, *, timeline_limit: int = TIMELINE_LIMIT) -> None:
        self._box = box
        self._limit = timeline_limit
        self._running: dict[str, _Command] = {}
        self._recalled: list[_Command] = []
        self._positions = Positions(Recorder.directory(box))
        self._partings = 0
        self._together = asyncio.Event()
        self._together.set()
        self.background = Background(box)

    @property
    def count(self) -> int:
        """How many commands run."""
        return len(self._running)

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

    async def feed(self, command_id: str) -> questions.Feeder:
        """The stdin of a command that was started with one."""
        return await questions.Feeder.open(self._box.agent_socket, command_id)

    @property
    def running(self) -> list[str]:
        """Ids of the commands whose end is not recorded yet."""
        return sorted(self._running)

    # ---- for the host -------------------------------------------------------------------------

    def part(self) -> None:
        """From here on the agent may hang up: commands wait for ``rejoin`` instead of ending."""
        self._partings += 1
        self._together.clear()

    async def rejoin(self) -> None:
        """The agent answers again, or never will: commands go on where their records are."""
        if self._together.is_set():
            return
        self._together.set()
        with suppress(HostError):  # of one that ended as the agent hung up it was not told so
            await self._forget_strangers(await self._known())

    def recall(self) -> None:
        """The first half of ``recover``, while a pause keeps the agent from answering."""
        self._recalled = self._restore_all()

    @property
    def recalled(self) -> bool:
        """Whether commands wait for ``recover``."""
        return bool(self._recalled)

    async def recover(self) -> None:
        """Goes on with the commands of a host that was killed. Call before the journal is shipped.

        Returns when all are taken up; their records are completed in the background.
        """
        commands = self._recalled or self._restore_all()
        self._recalled = []
        try:
            known = await self._known()
        except HostError:
            known = set()
        for command in commands:
            attach = command.id in known
            self._begin(command, self._resume(command, attach=attach))
        self.background.finish_all_but(set(self._running))
        await self._forget_strangers(known)

    async def _known(self) -> set[str]:
        return {entry.command_id for entry in await questions.listed(self._box.agent_socket)}

    async def _forget_strangers(self, known: set[str]) -> None:
        for command_id in known - set(self._running):
            if command_id.startswith(TERMINAL):
                continue
            with suppress(HostError):
                await questions.forget(self._box.agent_socket, command_id)

    def _restore_all(self) -> list[_Command]:
        """Everything that reads the journal, before anybody else may shorten it."""
        seen = seen_in(self._box.journal.scan())
        found = (self._restore(position, seen) for position in self._positions.left())
        return [command for command in found if command is not None]

    def _restore(self, position: Position, seen: Mapping[str, Seen]) -> _Command | None:
        try:
            recorder = Recorder.restore(self._box, position, seen, limit=self._limit)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is of no use: %s", position.path, error)
            recorder = None
        if recorder is None or recorder.is_over:
            self._positions.give_back(position)
            return None
        return _Command(recorder, Nobody())

    async def settled(self, seconds: float = 5.0) -> bool:
        """Waits until every command's end is recorded; False when that takes longer."""
        tasks = [command.task for command in self._running.values() if command.task]
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=seconds)
        return not late

    async def close(self) -> None:
        """Stops following. The commands go on; a later ``recover`` completes their records."""
        commands = [*self._running.values(), *self._recalled]
        tasks = [command.task for command in commands if command.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for command in commands:
            with suppress(OSError):
                command.recorder.flush()
            command.fail(HostError("host_unreachable", "The host restarts; try again."))
            command.close()
            command.recorder.position.close()
        self._running.clear()
        self._recalled = []
        self._positions.close()
        self.background.close()

    # ---- one command --------------------------------------------------------------------------

    def _launch(self, request: ExecRequest, actor: Actor, sink: Sink) -> _Command:
        check(request)
        frame = spawn_frame(request, self._box.env)
        if request.command_id in self._running:
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
            raise _no_record(error) from error
        command = _Command(recorder, sink)
        self._begin(command, self._drive(command, frame))
        return command

    def _begin(self, command: _Command, work: Coroutine[Any, Any, None]) -> None:
        self._running[command.id] = command
        if command.recorder.request.background:
            command.wrote = partial(self.background.wrote, command.id)
        command.task = asyncio.create_task(work, name=f"command {command.id}")
        command.task.add_done_callback(lambda task: self._surprised(command, task))

    def _surprised(self, command: _Command, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever for a command whose task failed in a way nobody thought of."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("command %s is no longer followed", command.id, exc_info=task.exception())
        self._running.pop(command.id, None)
        command.fail(HostError("internal", "The host failed to follow the command; report this."))
        command.close()

    async def _drive(self, command: _Command, frame: bytes) -> None:
        try:
            await self._spawn(command, frame)
        except HostError as error:
            self._refused(command, error)
        else:
            await self._follow(command)

    async def _spawn(self, command: _Command, frame: bytes) -> None:
        """An agent that hung up meanwhile may have started it or not; it is asked which."""
        while True:
            command.partings = self._partings
            try:
                command.link = await Link.open(self._box.agent_socket)
                await command.link.send(Ask.SPAWN, frame)
                await self._started(command)
            except HostError as error:
                if error.code != "agent_lost" or command.partings == self._partings:
                    raise
                await self._together.wait()
                if command.id in await self._known():
                    if await self._rejoined(command):
                        return
                    raise
            else:
                return

    def _refused(self, command: _Command, error: HostError) -> None:
        if error.code == "pids_exhausted":
            data = {
                "limit": "pids",
                "value": self._box.pids,
                "cap": self._box.pids,
                "detail": error.message,
            }
            actor = command.recorder.actor
            with suppress(OSError):
                self._box.journal.append(NewEvent(kind=Kind.LIMIT_HIT, data=data, actor=actor))
        self._drop(command)
        command.fail(error)

    def _drop(self, command: _Command) -> None:
        """Nothing more will be recorded of it."""
        command.close()
        self._running.pop(command.id, None)
        with suppress(OSError):
            self._positions.give_back(command.recorder.position)

    async def _started(self, command: _Command) -> None:
        assert command.link is not None  # noqa: S101 - both callers have just opened it
        subject = command.recorder.request.cwd
        pid = Fields(await command.link.expect(Answer.STARTED, subject=subject)).u32()
        try:
            command.recorder.started(pid)
            if command.recorder.request.background:
                request, at = command.recorder.request, command.recorder.at
                self.background.started(request, pid=pid, at=at)
        except OSError as error:
            with suppress(HostError):
                await self.kill(command.id)
            raise _no_record(error) from error
        if not command.pid.done():
            command.pid.set_result(pid)

    async def _resume(self, command: _Command, *, attach: bool) -> None:
        """Takes up one command after a restart. One that never started leaves no trace."""
        recorder = command.recorder
        try:
            if not attach:
                raise lost("it has no such command")
            await self._attach(command)
        except HostError as error:
            if recorder.was_started:
                await self._finish(command, error)
            else:
                self._refused(command, error)
        else:
            await self._follow(command)

    async def _attach(self, command: _Command) -> None:
        command.partings = self._partings
        command.link = await Link.open(self._box.agent_socket)
        payload = text(command.id) + struct.pack("<Q", command.recorder.offset)
        await command.link.send(Ask.ATTACH, payload)
        await self._started(command)

    async def _follow(self, command: _Command) -> None:
        ended: Ended | HostError | None = None
        while ended is None:
            try:
                ended = await self._receive(command)
            except HostError as error:
                ended = None if await self._rejoined(command) else error
        await self._finish(command, ended)

    async def _rejoined(self, command: _Command) -> bool:
        """Whether the agent hung up for a pause that is over, and has the command still."""
        while command.partings != self._partings:
            await self._together.wait()
            if command.link is not None:
                command.link.close()
            while command.recorder.gathered.size:  # to attach is to acknowledge
                command.flush()
                if command.recorder.gathered.size:
                    await asyncio.sleep(RETRY_SECONDS)
            with suppress(HostError):
                await self._attach(command)
                return True
        return False

    async def _receive(self, command: _Command) -> Ended:
        assert command.link is not None  # noqa: S101 - ``_started`` has used it
        while True:
            kind, payload = await command.link.receive()
            if kind is Answer.EXITED:
                return Ended.parse(payload)
            if kind is not Answer.OUTPUT:
                raise lost("an answer to another question")
            output = Output.parse(payload, expected=command.recorder.offset)
            command.take(output)
            await command.sink.put(output.stream, output.data)

    async def _finish(self, command: _Command, ended: Ended | HostError) -> None:
        command.cancel_timer()
        await self._record_end(command, ended)
        if command.link is not None:
            command.link.tell(Ask.FORGET, text(command.id))
        self._drop(command)
        if isinstance(command.sink, Reader):
            await command.sink.end(ended)
        if isinstance(ended, HostError):
            command.fail(ended)
        elif not command.ended.done():
            command.ended.set_result(ended)

    async def _record_end(self, command: _Command, ended: Ended | HostError) -> None:
        known, error = (None, ended.code) if isinstance(ended, HostError) else (ended, None)
        while True:
            try:
                if command.recorder.request.background:
                    # Before the journal: whose last word makes a next host forget the command.
                    command.recorder.flush()
                    self.background.ended(command.id, known)
                command.recorder.finish(known, error=error)
            except OSError as trouble:
                log.warning("the end of command %s is not recorded yet: %s", command.id, trouble)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _nobody_reads() -> None:
    """Of a command that is not in the background."""


def _no_record(error: OSError) -> HostError:
    log.error("a command cannot be recorded: %s", error)
    return HostError("internal", "The host cannot record the command; free space on its disk.")
