"""What an agent runs and a host follows: commands and terminals.

Each has a task of its own that speaks to the agent and writes the record, whoever waits for it. It
is taken up again where its record is when the agent hung up for a pause, and by a next host.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import Answer, Ask, Ended, Fields, lost, text
from sandboxes.host.agent.link import Link
from sandboxes.host.positions import Position, Positions
from sandboxes.host.types import Box, HostError

#: Seconds between attempts while the host's disk is full.
RETRY_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class Followed(ABC):
    """One of them."""

    #: What it is called in complaints.
    noun: str

    def __init__(self) -> None:
        self.link: Link | None = None
        self.partings = 0  # of the agent's ties when ``link`` was opened
        self.task: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def id(self) -> str:
        """As the agent knows it."""

    @property
    @abstractmethod
    def cwd(self) -> str:
        """Where it was to be started."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """How many bytes of its output were taken."""

    @property
    @abstractmethod
    def was_begun(self) -> bool:
        """Whether its beginning is in the journal."""

    @property
    @abstractmethod
    def position(self) -> Position:
        """How far its record has got, on disk."""

    @abstractmethod
    def flush(self) -> bool:
        """Record what was taken; whether all of it is."""

    @abstractmethod
    def begun(self, pid: int) -> None:
        """Record that it was started, unless that is known. Raises ``OSError``."""

    @abstractmethod
    def finish(self, ended: Ended | None, *, error: str | None) -> None:
        """Record its end. Raises ``OSError``."""

    @abstractmethod
    async def receive(self) -> Ended:
        """Take what comes until it has ended. Raises ``HostError``."""

    @abstractmethod
    def fail(self, error: HostError) -> None:
        """Tell who waits for it that there is nothing to wait for."""

    @abstractmethod
    def lose(self) -> None:
        """Nobody follows it any more, for a reason that nobody thought of."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything but the record on disk."""

    def forget(self) -> None:
        """Nothing more comes; the agent need not keep it."""
        if self.link is not None:
            self.link.tell(Ask.FORGET, text(self.id))


One = TypeVar("One", bound=Followed)


class Following(ABC, Generic[One]):
    """All of one kind in one sandbox. Use from one event loop."""

    def __init__(self, box: Box, positions: Path) -> None:
        self._box = box
        self._followed: dict[str, One] = {}
        self._recalled: list[One] | None = None
        self._positions = Positions(positions)

    # ---- for the host -------------------------------------------------------------------------

    def recall(self) -> None:
        """The first half of ``recover``, while a pause keeps the agent from answering."""
        self._recalled = self._restore_all()

    @property
    def recalled(self) -> bool:
        """Whether those of an earlier host wait for ``recover``."""
        return self._recalled is not None

    async def recover(self) -> None:
        """Go on with those of a host that was killed. Call before the journal is shipped.

        Those that were recalled in a pause go on with this too. Returns when all are taken up;
        their records are completed in the background.
        """
        ones = self._restore_all() if self._recalled is None else self._recalled
        self._recalled = None
        try:
            known = await self._known()
        except HostError:
            known = set()
        for one in ones:
            self._begin(one, self._resume(one, attach=one.id in known))
        self._took_up()
        await self._forget_strangers(known)

    async def rejoined(self) -> None:
        """The agent answers again after it hung up: have it forget what ended just then."""
        with suppress(HostError):
            await self._forget_strangers(await self._known())

    async def settled(self, seconds: float = 5.0) -> bool:
        """Wait until the end of every one is recorded; False when that takes longer."""
        tasks = [one.task for one in self._followed.values() if one.task]
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=seconds)
        return not late

    async def close(self) -> None:
        """Stop following. They go on; a later ``recover`` completes their records."""
        ones = [*self._followed.values(), *(self._recalled or [])]
        tasks = [one.task for one in ones if one.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in ones:
            one.flush()
            one.fail(HostError("host_unreachable", "The host restarts; try again."))
            one.close()
            one.position.close()
        self._followed.clear()
        self._recalled = None
        self._positions.close()

    # ---- what each kind does its own way ------------------------------------------------------

    @abstractmethod
    def _is_own(self, name: str) -> bool:
        """Whether an id of the agent's is one of this kind."""

    @abstractmethod
    def _restorer(self) -> Callable[[Position], One | None]:
        """What goes on from a position: None when that is over. Reads the journal."""

    def _took_up(self) -> None:
        """All that an earlier host left is followed again."""

    def _refused(self, one: One, error: HostError) -> None:
        """It was never started."""
        self._drop(one)
        one.fail(error)

    async def _tell_end(self, one: One, ended: Ended | HostError) -> None:
        """Its end is recorded, and it is dropped."""

    # ---- one of them --------------------------------------------------------------------------

    def _restore_all(self) -> list[One]:
        """Everything that reads the journal, before anybody else may shorten it."""
        restore = self._restorer()
        found = (self._restore(position, restore) for position in self._positions.left())
        return [one for one in found if one is not None]

    def _restore(self, position: Position, restore: Callable[[Position], One | None]) -> One | None:
        one = None
        try:
            one = restore(position)
        except (ValueError, KeyError, TypeError, OSError, HostError) as error:
            log.warning("%s is of no use: %s", position.path, error)
        if one is None:
            self._positions.give_back(position)
        return one

    async def _known(self) -> set[str]:
        return {entry.command_id for entry in await questions.listed(self._box.agent_socket)}

    async def _forget_strangers(self, known: Iterable[str]) -> None:
        for name in set(known) - set(self._followed):
            if self._is_own(name):
                with suppress(HostError):
                    await questions.forget(self._box.agent_socket, name)

    def _begin(self, one: One, work: Coroutine[Any, Any, None]) -> None:
        self._followed[one.id] = one
        one.task = asyncio.create_task(work, name=f"{one.noun} {one.id}")
        one.task.add_done_callback(lambda task: self._surprised(one, task))

    def _surprised(self, one: One, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever for one whose task failed in a way nobody thought of."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("%s %s is no longer followed", one.noun, one.id, exc_info=task.exception())
        self._followed.pop(one.id, None)
        message = f"The host failed to follow the {one.noun}; report this."
        one.fail(HostError("internal", message))
        one.lose()
        one.close()

    async def _drive(self, one: One, frame: bytes) -> None:
        """From its start, which ``frame`` asks for, to its end."""
        try:
            await self._spawn(one, frame)
        except HostError as error:
            self._refused(one, error)
        else:
            await self._follow(one)

    async def _spawn(self, one: One, frame: bytes) -> None:
        """An agent that hung up meanwhile may have started it or not; it is asked which."""
        ties = self._box.ties
        while True:
            one.partings = ties.partings
            try:
                one.link = await Link.open(self._box.agent_socket)
                await one.link.send(Ask.SPAWN, frame)
                await self._started(one)
            except HostError as error:
                if error.code != "agent_lost" or one.partings == ties.partings:
                    raise
                await ties.together()
                if one.id in await self._known():
                    if await self._rejoined(one):
                        return
                    raise
            else:
                return

    async def _started(self, one: One) -> None:
        assert one.link is not None  # noqa: S101 - both callers have just opened it
        pid = Fields(await one.link.expect(Answer.STARTED, subject=one.cwd)).u32()
        try:
            one.begun(pid)
        except OSError as error:
            with suppress(HostError):
                await questions.kill(self._box.agent_socket, one.id)
            raise no_record(one.noun, error) from error

    async def _resume(self, one: One, *, attach: bool) -> None:
        """Take up one after a restart. One that never began leaves no trace."""
        try:
            if not attach:
                raise lost(f"it has no such {one.noun}")
            await self._attach(one)
        except HostError as error:
            if one.was_begun:
                await self._finish(one, error)
            else:
                self._refused(one, error)
        else:
            await self._follow(one)

    async def _attach(self, one: One) -> None:
        one.partings = self._box.ties.partings
        one.link = await Link.open(self._box.agent_socket)
        await one.link.send(Ask.ATTACH, text(one.id) + struct.pack("<Q", one.offset))
        await self._started(one)

    async def _follow(self, one: One) -> None:
        ended: Ended | HostError | None = None
        while ended is None:
            try:
                ended = await one.receive()
            except HostError as error:
                ended = None if await self._rejoined(one) else error
        await self._finish(one, ended)

    async def _rejoined(self, one: One) -> bool:
        """Whether the agent hung up for a pause that is over, and has it still."""
        while one.partings != self._box.ties.partings:
            await self._box.ties.together()
            if one.link is not None:
                one.link.close()
            while not one.flush():  # noqa: ASYNC110 - to attach is to acknowledge
                await asyncio.sleep(RETRY_SECONDS)
            with suppress(HostError):
                await self._attach(one)
                return True
        return False

    async def _finish(self, one: One, ended: Ended | HostError) -> None:
        known, error = (None, ended.code) if isinstance(ended, HostError) else (ended, None)
        while True:
            try:
                self._record_end(one, known, error)
            except OSError as trouble:
                log.warning("the end of %s %s is not recorded yet: %s", one.noun, one.id, trouble)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        one.forget()
        await self._tell_end(one, ended)

    def _record_end(self, one: One, ended: Ended | None, error: str | None) -> None:
        one.finish(ended, error=error)

    def _drop(self, one: One) -> None:
        """Nothing more will be recorded of it."""
        one.close()
        self._followed.pop(one.id, None)
        with suppress(OSError):
            self._positions.give_back(one.position)


def no_record(noun: str, error: OSError) -> HostError:
    """The answer to whoever wanted one that cannot be recorded."""
    log.error("a %s cannot be recorded: %s", noun, error)
    return HostError("internal", f"The host cannot record the {noun}; free space on its disk.")
