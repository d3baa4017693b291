"""What a context remembers, and how that outlives the host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from sandboxes.host.code.cell import Cell
from sandboxes.host.code.clock import RunningClock
from sandboxes.host.code.keeping import Keeping, Seen
from sandboxes.host.code.messages import Splitter
from sandboxes.host.code.process import KernelProcess
from sandboxes.host.code.record import context_event
from sandboxes.host.code.types import CodeRequest, ContextInfo
from sandboxes.host.output import GATHER_BYTES, GATHER_SECONDS
from sandboxes.host.types import Box
from timeline.events import Actor, Kind, now_us

RETRY_SECONDS: Final = 1.0
#: Bytes after which what was heard is saved, so that the agent may forget it.
_SAVE_BYTES: Final = 64 * 1024

log = logging.getLogger(__name__)


class KeptContext:
    """The part of a context that a next host goes on from. ``Context`` does the rest."""

    def __init__(self, box: Box, clock: RunningClock, context_id: str, *, cwd: str) -> None:
        self.id = context_id
        self.cwd = cwd
        self.created_at = now_us()
        self.kernel_name = ""  # the agent's name for the kernel; empty without one
        self._box = box
        self._clock = clock
        self._keeping = Keeping(box, context_id)
        self._process: KernelProcess | None = None
        self._taken = 0  # of its output, by the host before this one
        self._splitter = Splitter()
        self._cell: Cell | None = None
        self._armed_at = now_us()
        self._unsaved = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False  # its variables are, and nobody has been told
        self._last_used_at: int | None = None
        self._executions = 0

    def info(self) -> ContextInfo:
        return ContextInfo(
            context_id=self.id,
            cwd=self.cwd,
            created_at=self.created_at,
            last_used_at=self._last_used_at,
            executions=self._executions,
            alive=self._process is not None,
        )

    def _tell_timeline(self, what: str, *, actor: Actor, detail: str = "") -> None:
        event = context_event(self.id, what, actor=actor, cwd=self.cwd, detail=detail)
        try:
            self._box.journal.append(event)
        except OSError:
            log.exception("That a context was %s is not recorded", what)

    # ---- writing ------------------------------------------------------------------------------

    def _begin_kernel(self, name: str) -> None:
        self.kernel_name, self._splitter = name, Splitter()
        self._keeping.begin(self._asked(), {**self._state(), "at": 0})

    def _begin_cell(self, cell: Cell) -> None:
        """Noted before the journal has it, so that an end will be written for what it has."""
        cell.began_at = self._armed_at = now_us()
        self._cell = cell
        try:
            self._keeping.begin(self._asked(), {**self._state(begun=False), **self._place()})
            self._box.journal.append(cell.record.begun())
        except BaseException:
            self._cell = None
            raise
        self._last_used_at = cell.began_at
        self._executions += 1
        self._flush()

    def _asked(self) -> dict[str, Any]:
        asked: dict[str, Any] = {"cwd": self.cwd, "created_at": self.created_at}
        if self._cell is not None:
            asked["actor"] = self._cell.actor.to_json()
            asked["cell_id"] = self._cell.id
            asked["timeout_seconds"] = self._cell.request.timeout_seconds
        return asked

    def _place(self) -> dict[str, Any]:
        return {"at": self._splitter.at}

    def _state(self, *, begun: bool = True) -> dict[str, Any]:
        cell = self._cell
        return {
            "kernel": self.kernel_name,
            "taken": self._process.taken if self._process else self._taken,
            "lost": self._lost,
            "used": self._last_used_at,
            "ran": self._executions,
            "cell": None if cell is None else self._cell_state(cell, begun=begun),
        }

    def _cell_state(self, cell: Cell, *, begun: bool) -> dict[str, Any]:
        return {
            "begun": begun,
            "began_at": cell.began_at,
            "left": cell.left,
            "armed_at": None if self._clock.is_held else self._armed_at,
            "restarted": cell.restarted,
            **cell.record.save(),
        }

    def _save_soon(self) -> None:
        record = self._cell.record if self._cell else None
        gathered = record.gathered if record else 0
        whole = record is None or any(one.kind != Kind.CODE_OUTPUT for one in record.pending)
        if whole or gathered >= GATHER_BYTES or self._unsaved >= _SAVE_BYTES:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._flush)

    def _flush(self, ended: Cell | None = None) -> bool:
        """Journal, position, acknowledgement. False when the disk has no space; tried again."""
        self._cancel_timer()
        cell = ended or self._cell
        try:
            if cell is not None:
                self._write(cell)
            self._keeping.save(self._state(), self._splitter)
        except OSError as error:
            log.warning("context %s is not recorded yet: %s", self.id, error)
            if ended is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(RETRY_SECONDS, self._flush)
            return False
        self._unsaved = 0
        if self._process is not None:
            self._process.acknowledge()
        return True

    def _write(self, cell: Cell) -> None:
        if cell.record.pending:
            self._box.journal.append_many(cell.record.pending)
            cell.record.pending.clear()
        cell.record.gathered = 0

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hold(self) -> None:
        """The sandbox stands still; the clock does already."""
        if self._cell is not None:
            self._cell.left = max(0.0, self._cell.left - (now_us() - self._armed_at) / 1e6)
            self._flush()

    def go_on(self) -> None:
        """The sandbox runs again; the clock does already."""
        if self._cell is not None:
            self._armed_at = now_us()
            self._flush()

    # ---- reading ------------------------------------------------------------------------------

    def restore(self, seen: Mapping[str, Seen]) -> bool:
        """Be as an earlier host left it; False when it had not begun.

        Raises ``ValueError``, ``KeyError`` or ``TypeError`` for files that are not ours.
        """
        loaded = self._keeping.load()
        if loaded is None:
            self._keeping.remove()
            return False
        asked, state, self._splitter = loaded
        self.cwd, self.created_at = asked["cwd"], asked["created_at"]
        self.kernel_name, self._lost = state["kernel"], state["lost"]
        self._last_used_at, self._executions = state["used"], state["ran"]
        self._taken = state["taken"]
        if state["cell"] is not None:
            self._cell = self._cell_of(asked, state["cell"], seen.get(asked["cell_id"], Seen()))
        return True

    def _cell_of(
        self, asked: Mapping[str, Any], saved: Mapping[str, Any], seen: Seen
    ) -> Cell | None:
        if seen.done or not (saved["begun"] or seen.begun):
            return None
        request = CodeRequest(asked["cell_id"], "", self.id, asked["timeout_seconds"])
        cell = Cell(self._box, request, Actor.from_json(asked["actor"]))
        cell.record.load(saved)
        cell.record.seen = seen.offset
        cell.began_at, cell.restarted = saved["began_at"], saved["restarted"]
        elapsed = 0.0 if saved["armed_at"] is None else (now_us() - saved["armed_at"]) / 1e6
        cell.left = max(0.0, saved["left"] - elapsed)
        self._armed_at = now_us()
        return cell
