"""One open terminal: its output to those who watch and to its record, input from who drives it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from sandboxes.host.agent import questions
from sandboxes.host.agent.feeder import Feeder
from sandboxes.host.agent.frames import Answer, Ended, Output, lost
from sandboxes.host.following import RETRY_SECONDS, Followed
from sandboxes.host.output import GATHER_BYTES, GATHER_SECONDS
from sandboxes.host.positions import Position
from sandboxes.host.terminals.audience import Audience, Send, Watcher
from sandboxes.host.terminals.recorder import Recorder
from sandboxes.host.terminals.screen import Screen
from sandboxes.host.terminals.types import TYPED_WINDOW, Size, Visitor
from sandboxes.host.types import Box, HostError

log = logging.getLogger(__name__)

#: Bytes a second that one terminal may write, and at once; more waits, as on a slow line.
RATE: Final = 4 * 1024 * 1024
BURST: Final = 512 * 1024
#: A driver's page may be so far behind before the program has to wait, and so long at most.
LAG: Final = 16 * 1024
STALLED_SECONDS: Final = 1.0
#: After this long without another key, what was typed becomes an event.
TYPING_SECONDS: Final = 1.0
#: Pages whose keys are counted; one that came back after so many others counts anew.
PAGES: Final = 64
#: Between two sizes that the shell is told of.
RESIZE_SECONDS: Final = 0.1


class Session(Followed):
    """Use from one event loop."""

    noun = "terminal"

    def __init__(self, box: Box, recorder: Recorder) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.recorder = recorder
        self.audience = Audience()
        self.opened: asyncio.Future[int] = loop.create_future()
        self.opened.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.screen = Screen()
        self.masked = Screen()
        self._box = box
        self._timer: asyncio.TimerHandle | None = None
        self._typing: asyncio.TimerHandle | None = None
        self._keys: asyncio.Queue[tuple[Watcher, bytes, int]] = asyncio.Queue()
        self._accepted: dict[str, int] = {}  # bytes of each page's keys that came as far as here
        self._waiting = 0
        self._wanted: tuple[Size, Watcher] | None = None
        self._helpers: set[asyncio.Task[None]] = set()
        self._feeds = False
        self._recorded = self._paced = self._acknowledged = recorder.offset
        self._credit, self._counted = float(BURST), time.monotonic()

    @property
    def id(self) -> str:
        return self.recorder.request.terminal_id

    @property
    def cwd(self) -> str:
        return self.recorder.request.cwd

    @property
    def offset(self) -> int:
        return self.recorder.offset

    @property
    def was_begun(self) -> bool:
        return self.recorder.was_opened

    @property
    def position(self) -> Position:
        return self.recorder.position

    def begun(self, pid: int) -> None:
        self.recorder.opened(pid, self.recorder.actor.name)
        if not self.opened.done():
            self.opened.set_result(pid)

    def restore_screen(self) -> None:
        """For a host that was just started: what the recording ends with, in the modes it had."""
        shown = self.recorder.recording.last_output() + self.recorder.modes
        for screen in (self.screen, self.masked):
            screen.add(shown)

    # ---- output -------------------------------------------------------------------------------

    async def receive(self) -> Ended:
        """Until the shell has ended. Raises ``HostError`` agent_lost."""
        if self.link is None:
            raise lost("it was never asked")
        if not self._feeds:
            self._feeds = True
            self._help(self._feed())
        while True:
            kind, payload = await self.link.receive()
            if kind is Answer.EXITED:
                return Ended.parse(payload)
            if kind is not Answer.OUTPUT:
                raise lost("an answer to another question")
            data = Output.parse(payload, expected=self.recorder.offset).data
            self._take(data)
            await self._pace(len(data))
            self._paced = self.recorder.offset
            self._acknowledge()

    def _take(self, data: bytes) -> None:
        was_full = self.screen.is_alternate
        self.screen.add(data)
        for watcher in self.audience.watchers:
            if watcher.screen is self.screen:
                watcher.more()
        self.recorder.gather(data, full_screen=was_full or self.screen.is_alternate)
        if self.recorder.waiting >= GATHER_BYTES:
            self.flush()
        elif self._timer is None:
            self._flush_in(GATHER_SECONDS)

    async def _pace(self, count: int) -> None:
        """No faster than the line, nor than the driver can see; a dead page holds up nobody."""
        now = time.monotonic()
        self._credit = min(BURST, self._credit + (now - self._counted) * RATE) - count
        self._counted = now
        if self._credit < 0:
            await asyncio.sleep(-self._credit / RATE)
        driver = self.audience.driver
        while driver and not driver.behind and driver is self.audience.driver:
            if self.screen.end - driver.at <= min(LAG, driver.pace.window // 2):
                return
            driver.moved.clear()
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await driver.moved.wait()
            except TimeoutError:
                driver.behind = True

    def _flush_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.flush)

    def flush(self) -> bool:
        """Records, then acknowledges. With no space on the host the shell comes to wait."""
        self._cancel_timer()
        self.recorder.modes = self.screen.modes
        try:
            offset = self.recorder.flush()
        except OSError as error:
            log.warning("terminal %s is not recorded yet: %s", self.id, error)
            self._flush_in(RETRY_SECONDS)
            return False
        self.show_rest()
        self._recorded = offset
        self._acknowledge()
        return True

    def _acknowledge(self) -> None:
        """What is recorded and was paced: all else stays in the agent's ring, which bounds it."""
        offset = min(self._recorded, self._paced)
        if self.link is not None and offset > self._acknowledged:
            self._acknowledged = offset
            self.link.acknowledge(offset)

    def show_rest(self) -> None:
        """To those who see what the timeline does: what was recorded since the last time."""
        if shown := self.recorder.masked():
            self.masked.add(shown)
            for watcher in self.audience.watchers:
                if watcher.screen is self.masked:
                    watcher.more()

    # ---- input --------------------------------------------------------------------------------

    def type(self, watcher: Watcher, data: bytes) -> None:
        """Keys of the driver's; nobody else's go anywhere. Raises ``HostError`` (invalid)."""
        if watcher is not self.audience.driver:
            return
        accepted = self._accepted.get(watcher.visitor.page, 0)
        at, watcher.typed = watcher.typed, watcher.typed + len(data)
        data = data[max(0, accepted - at) :]
        if not data:
            return
        self._waiting += len(data)
        if self._waiting > TYPED_WINDOW:
            raise HostError("invalid", "Too much was typed at once; connect again.")
        if watcher.visitor.page:
            self._accepted[watcher.visitor.page] = watcher.typed
        self._keys.put_nowait((watcher, data, watcher.typed))

    def type_from(self, watcher: Watcher, count: int) -> None:
        """What the page types next is this byte of all it ever typed; what came already is left
        out, so that a page can say again what may have been lost with its connection."""
        watcher.typed = max(0, count)
        page = watcher.visitor.page
        if page and watcher is self.audience.driver:
            self._accepted[page] = max(count, self._accepted.pop(page, 0))
            while len(self._accepted) > PAGES:
                del self._accepted[next(iter(self._accepted))]

    async def _feed(self) -> None:
        """Hands keys to the agent in their order, as fast as the shell takes them."""
        feeder = Feeder(self._box.agent_socket, self.id, self._box.ties)
        try:
            while True:
                watcher, data, end = await self._keys.get()
                self._waiting -= len(data)
                hidden = await feeder.write(data)
                watcher.tell("typed", bytes=end)
                self._typed(watcher, data, hidden=hidden)
        except HostError as error:
            log.info("terminal %s takes no input: %s", self.id, error.message)
        finally:
            feeder.close()

    def _typed(self, watcher: Watcher, data: bytes, *, hidden: bool) -> None:
        self.recorder.type(watcher.actor, data, hidden=hidden)
        if self._timer is None:
            self._flush_in(GATHER_SECONDS)
        if self._typing is not None:
            self._typing.cancel()
        loop = asyncio.get_running_loop()
        self._typing = loop.call_later(TYPING_SECONDS, self._stopped_typing)

    def _stopped_typing(self) -> None:
        self._typing = None
        if self.recorder.is_typing:
            self.recorder.pause_typing()
            self.flush()

    # ---- size ---------------------------------------------------------------------------------

    def resize(self, watcher: Watcher, size: Size) -> None:
        """The driver's window has this size now; of several the last one counts."""
        if watcher is self.audience.driver:
            is_idle, self._wanted = self._wanted is None, (size, watcher)
            if is_idle:
                self._help(self._apply_sizes())

    async def _apply_sizes(self) -> None:
        while self._wanted is not None:
            size, watcher = self._wanted
            if size != self.recorder.size:
                await self._set_size(size)
                self.recorder.resize(size, watcher.actor)
                self.flush()
                self.audience.tell("size", rows=size.rows, columns=size.columns)
                await asyncio.sleep(RESIZE_SECONDS)
            if self._wanted[0] == size:
                self._wanted = None

    async def _set_size(self, size: Size) -> None:
        with suppress(HostError):
            await questions.resize(
                self._box.agent_socket, self.id, rows=size.rows, columns=size.columns
            )

    async def _redraw(self) -> None:
        """A full-screen program draws everything when its screen changes."""
        size = self.recorder.size
        await self._set_size(Size(size.rows - 1 if size.rows > 2 else 3, size.columns))
        await self._set_size(self.recorder.size)

    # ---- people -------------------------------------------------------------------------------

    async def attend(self, visitor: Visitor, send: Send, ready: Callable[[Watcher], None]) -> None:
        """Serves one watcher until the terminal is closed. Raises ``HostError`` and what
        ``send`` raises. ``ready`` is told once the watcher is in."""
        watcher = Watcher(visitor, self.screen if visitor.drives else self.masked, send)
        is_new = self.audience.enter(watcher)
        try:
            size = self.recorder.size
            watcher.tell("size", rows=size.rows, columns=size.columns)
            if is_new and self.recorder.was_opened:
                self._drives(watcher, before="")
            self.audience.tell_people()
            if visitor.page:
                known = self._accepted.get(visitor.page, 0)
                watcher.tell("typed", bytes=known, fresh=True)
            if watcher.screen.needs_redraw:
                self._help(self._redraw())
            ready(watcher)
            await watcher.run()
        finally:
            self.audience.leave(watcher)
            self.audience.tell_people()

    def take_over(self, watcher: Watcher) -> None:
        """Raises ``HostError`` (not_permitted)."""
        if watcher is not self.audience.driver:
            self._drives(watcher, before=self.audience.take_over(watcher))
            self.audience.tell_people()

    def _drives(self, watcher: Watcher, *, before: str) -> None:
        """Who opened it drives at first, which its beginning has said."""
        visitor = watcher.visitor
        is_first = not self.recorder.driver and visitor.actor == self.recorder.actor
        self.recorder.driver = {"actor": visitor.actor.to_json(), "seat": visitor.seat}
        if not is_first:
            self.recorder.take_over(visitor.actor, before=before, watchers=self.audience.names)
        self.flush()

    # ---- its end ------------------------------------------------------------------------------

    def _help(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def finish(self, ended: Ended | None, *, error: str | None) -> None:
        self.recorder.finish(ended, error=error, watchers=self.audience.names)

    def fail(self, error: HostError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)

    def lose(self) -> None:
        self.audience.tell("closed", lost=True)

    def close(self) -> None:
        """Lets go of everything but the record on disk."""
        self._cancel_timer()
        if self._typing is not None:
            self._typing.cancel()
        for task in self._helpers:
            task.cancel()
        if self.link is not None:
            self.link.close()
        self.recorder.close()
