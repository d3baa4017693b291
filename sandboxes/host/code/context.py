"""One context: its kernel, and its cells one after another.

A kernel lives as long as its sandbox, whatever becomes of this host; ``recover`` finds it again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from sandboxes.host.agent.frames import KERNEL, Ended
from sandboxes.host.code import endings
from sandboxes.host.code.cell import Cell
from sandboxes.host.code.clock import RunningClock
from sandboxes.host.code.kept import RETRY_SECONDS, KeptContext
from sandboxes.host.code.messages import (
    CELL_LIMIT,
    BrokenKernelError,
    Bye,
    CodeError,
    Done,
    Message,
    Missing,
    Printed,
    Raised,
    Ready,
    Result,
)
from sandboxes.host.code.process import KernelProcess
from sandboxes.host.code.types import WAITING_LIMIT
from sandboxes.host.types import Box, HostError
from timeline.events import SYSTEM, Actor

READY_SECONDS: Final = 60.0
#: A cell that goes on for so long after it was interrupted loses its kernel.
GRACE_SECONDS: Final = 2.0
_END_SECONDS: Final = 10.0
_CLOSED: Final = ("host_unreachable", "The host restarts; try again.")
_REMOVED: Final = ("no_such_context", "The context was removed; use another one.")

log = logging.getLogger(__name__)


class Context(KeptContext):
    """Use from one event loop."""

    def __init__(self, box: Box, clock: RunningClock, context_id: str, *, cwd: str) -> None:
        super().__init__(box, clock, context_id, cwd=cwd)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._heard = 0  # bytes about this cell
        self._expected = ""  # why the kernel's end is no surprise
        self._handed: Cell | None = None  # to a kernel that may leave before it takes it
        self._closed: tuple[str, str] | None = None

    # ---- for callers --------------------------------------------------------------------------

    def run(self, cell: Cell) -> None:
        """Run it when its turn comes; what becomes of it, its listener hears. ``HostError``."""
        if self._waiting >= WAITING_LIMIT:
            raise HostError("busy", "Too many cells wait in this context; use another one.")
        self._spawn(cell, self._run(cell))

    async def open(self, actor: Actor) -> None:
        """Start its kernel. Raises ``HostError``."""
        async with self._turn:
            await self._start()
        self._tell_timeline("created", actor=actor)

    async def restart(self, actor: Actor) -> None:
        """End its kernel and what that runs, and start another. Raises ``HostError``."""
        await self._stop("restart")
        async with self._turn:
            await self._start()
            self._lost = False
        self._tell_timeline("restarted", actor=actor)

    async def remove(self, actor: Actor) -> None:
        """End its kernel and forget the context."""
        self._closed = _REMOVED
        await self.discard()
        self._tell_timeline("removed", actor=actor)

    async def discard(self) -> None:
        """It could not be opened: leave nothing of it."""
        await self._stop("remove")
        await self.close(_REMOVED)
        self._keeping.remove()

    def _spawn(self, cell: Cell, work: Coroutine[Any, Any, None]) -> None:
        self._waiting += 1
        task = asyncio.create_task(work, name=f"cell {cell.id}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._ran, cell))

    def _ran(self, cell: Cell, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever for a cell that is no longer followed."""
        self._waiting -= 1
        self._tasks.discard(task)
        if task.cancelled():
            cell.fail(HostError(*(self._closed or _CLOSED)))
        elif (error := task.exception()) is not None:
            log.error("cell %s is no longer followed", cell.id, exc_info=error)
            cell.fail(HostError("internal", "The host failed to follow the cell; report this."))

    # ---- the kernel ---------------------------------------------------------------------------

    async def _start(self) -> None:
        """A kernel that takes cells; the one there is, if there is one."""
        if self._closed is not None:
            raise HostError(*self._closed)
        if self._process is None:
            await self._start_new()
        ready, listening = self._ready, self._listening
        if ready is None or listening is None:
            raise HostError("kernel_failed", "The interpreter ended at once; try again.")
        if not await self._clock.wait(ready, READY_SECONDS):
            await self._stop("slow")
            raise HostError("kernel_failed", "The interpreter did not start in time; try again.")
        ready.result()

    async def _start_new(self) -> None:
        try:
            self._begin_kernel(f"{KERNEL}{secrets.token_hex(8)}")
            process = await KernelProcess.start(self._box, self.kernel_name, cwd=self.cwd)
        except OSError as error:
            message = "The host cannot record the kernel; free space on its disk."
            raise HostError("internal", message) from error
        except HostError:
            self.kernel_name = ""
            raise
        self._follow(process)

    def _follow(self, process: KernelProcess) -> None:
        self._process = process
        self._expected = ""
        self._unsaved = self._heard = 0
        self._ready = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._listening = asyncio.create_task(self._listen(process), name=f"kernel {process.name}")

    async def _stop(self, why: str) -> None:
        """End the kernel, if there is one; ``why`` is a word of ``endings``."""
        listening, process = self._listening, self._process
        if listening is None or process is None:
            return
        self._expected = self._expected or why
        if self._cell is not None:
            self._cell.listener.hurry()
        with suppress(HostError):
            await process.kill()
        if not await self._clock.wait(listening, _END_SECONDS):
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self._gone(process, HostError("agent_lost", "The kernel did not end."))

    async def _listen(self, process: KernelProcess) -> None:
        ended: Ended | HostError
        try:
            ended = await self._hear(process)
        except BrokenKernelError as error:
            log.warning("kernel %s of %s: %s", process.name, self._box.sandbox_id, error)
            self._expected = f"broken: {error}"
            ended = await _put_down(process)
        except HostError as error:
            ended = error
        await self._gone(process, ended)

    async def _hear(self, process: KernelProcess) -> Ended:
        while True:
            try:
                heard = await process.hear()
            except HostError:
                if not await self._rejoined(process):
                    raise
                continue
            if isinstance(heard, Ended):
                return heard
            self._heard += len(heard)
            if self._heard > CELL_LIMIT:
                raise BrokenKernelError("more about one cell than any may send")
            self._unsaved += len(heard)
            for message, at in self._splitter.feed(heard):
                await self._understand(message, at)
            self._save_soon()

    async def _rejoined(self, process: KernelProcess) -> bool:
        """Whether the agent only hung up for a pause that is over."""
        if not process.was_parted:
            return False
        while not self._flush():  # noqa: ASYNC110 - a full disk gives no sign to wait for
            await asyncio.sleep(RETRY_SECONDS)
        return await process.rejoin()

    async def _understand(self, message: Message, at: int) -> None:
        """Words about any other cell than the one that runs mean nothing."""
        cell = self._cell
        if isinstance(message, Ready):
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(message, Bye):
            self._expected = self._expected or "exit"
        elif cell is None or message.cell != cell.id:
            return
        elif isinstance(message, Printed):
            await cell.printed(message.stream, message.text, offset=at)
        elif isinstance(message, Result):
            await cell.resulted(message, offset=at)
        elif isinstance(message, Raised):
            await cell.raised(message.error, offset=at)
        elif isinstance(message, Missing):
            await cell.raised(endings.NOT_RUN, offset=at)
            await self._finish(cell, None)
        elif isinstance(message, Done):
            await self._finish(cell, message)

    async def _gone(self, process: KernelProcess, ended: Ended | HostError) -> None:
        """The kernel is no more."""
        if self._process is not process:
            return
        self._process = self._listening = None
        process.forget()
        process.close()
        await self._lose(ended, complaint=process.complaint)

    async def _lose(self, ended: Ended | HostError, *, complaint: bytes = b"") -> None:
        """Who is told of a kernel's end depends on whether somebody wanted it."""
        error = endings.of_kernel(ended, expected=self._expected, complaint=complaint)
        self.kernel_name, self._taken = "", 0
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(HostError("kernel_failed", error.value))
        cell = self._cell
        passed_over = cell is not None and self._expected == "exit" and self._handed is cell
        if self._expected not in endings.WANTED:
            self._lost = cell is None or not cell.restarted
        if self._expected not in endings.WANTED and isinstance(ended, Ended):
            self._tell_timeline("died", actor=SYSTEM, detail=error.value)
        if passed_over:
            self._handed = None
            return
        if cell is None:
            self._flush()
            return
        await cell.raised(error, offset=self._splitter.at + 1)
        await self._finish(cell, None)

    # ---- cells --------------------------------------------------------------------------------

    async def _run(self, cell: Cell) -> None:
        try:
            async with self._turn:
                await self._start()
                cell.restarted, self._lost = self._lost, False
                self._heard = 0
                self._handed = cell
                self._begin_cell(cell)
                await self._see_through(cell, self._hand_over(cell))
        except HostError as error:
            cell.fail(error)
        except OSError:
            log.exception("A cell cannot be recorded")
            message = "The host cannot record the cell; free space on its disk."
            cell.fail(HostError("internal", message))

    async def _hand_over(self, cell: Cell) -> None:
        process, listening = self._process, self._listening
        if process is not None and listening is not None:
            with suppress(HostError):
                await process.run(cell.id, cell.request.code)
            await asyncio.wait({listening})
        if self._handed is None and self._cell is cell:
            await self._hand_to_next(cell)

    async def _hand_to_next(self, cell: Cell) -> None:
        """The kernel was about to leave for the cell before this one, and has not begun it."""
        cell.restarted, self._lost = True, False
        try:
            await self._start()
        except HostError as error:
            await cell.raised(CodeError("KernelDied", error.message), offset=self._splitter.at + 1)
            await self._finish(cell, None)
            return
        if self._process is not None:
            await self._process.run(cell.id, cell.request.code)

    async def _ask_for(self, cell: Cell) -> None:
        if self._process is not None:
            await self._process.tell({"check": cell.id})

    async def _see_through(self, cell: Cell, telling: Coroutine[Any, Any, None]) -> None:
        """Until it is over, which its time sees to."""
        told = asyncio.create_task(telling)
        try:
            if await self._clock.wait(cell.over, cell.left):
                return
        finally:
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)
        await self._interrupt(cell)

    async def _interrupt(self, cell: Cell) -> None:
        cell.interrupted = True
        cell.listener.hurry()
        with suppress(HostError, TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                if self._process is not None:
                    await self._process.tell({"interrupt": cell.id})
        if not await self._clock.wait(cell.over, GRACE_SECONDS):
            cell.restarted = True
            await self._stop("late")

    async def _finish(self, cell: Cell, done: Done | None) -> None:
        """Its end is written before anybody is told of it."""
        count, cut = (done.count, done.truncated) if done else (None, ())
        ending = cell.ending(count=count, truncated=cut)
        name = cell.error.name if cell.error else None
        told = {**ending, "status": cell.status(), "error": name}
        cell.record.done(told, offset=self._splitter.at + 1)
        self._cell = None
        while not self._flush(cell):  # noqa: ASYNC110 - a full disk gives no sign to wait for
            await asyncio.sleep(RETRY_SECONDS)
        await cell.answer(ending)

    # ---- after a restart of the host ----------------------------------------------------------

    async def recover(self, known: set[str]) -> None:
        """Find the kernel that ``restore`` speaks of, and see its cell through."""
        if not self.kernel_name and self._cell is None:
            return
        if self.kernel_name not in known:
            await self._lose(HostError("agent_lost", "The kernel was gone when the host came."))
            return
        try:
            process = await KernelProcess.attach(self._box, self.kernel_name, taken=self._taken)
        except HostError as error:
            await self._lose(error)
            return
        self._follow(process)
        if self._ready is not None:
            self._ready.set_result(None)
        if self._cell is not None:
            self._spawn(self._cell, self._go_on_with(self._cell))

    async def _go_on_with(self, cell: Cell) -> None:
        async with self._turn:
            await self._see_through(cell, self._ask_for(cell))

    async def settled(self) -> None:
        """Its kernel has ended and its cells are over: of a sandbox that has ended."""
        waiting = {*self._tasks, *([self._listening] if self._listening else [])}
        if waiting:
            await asyncio.wait(waiting)

    async def close(self, why: tuple[str, str] = _CLOSED) -> None:
        """Stop following. The kernel and its cell go on; a later host finds them."""
        self._closed = why
        tasks = [*self._tasks, *([self._listening] if self._listening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._flush()
        self._cancel_timer()
        if self._process is not None:
            self._process.close()
        self._keeping.close()


async def _put_down(process: KernelProcess) -> Ended | HostError:
    """End a kernel that makes no sense, and let what else it says pass."""
    try:
        await process.kill()
        while not isinstance(heard := await process.hear(), Ended):
            process.acknowledge()
    except HostError as error:
        return error
    return heard
