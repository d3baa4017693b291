"""What a command or a cell of code was to do, and how it ended, as their events say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from timeline.events import Kind

#: The kinds whose events begin one, and end one.
BEGUN: Final = (Kind.COMMAND_STARTED, Kind.CODE_RUN)
ENDED: Final = (Kind.COMMAND_EXITED, Kind.CODE_DONE)


def asked(data: Mapping[str, Any]) -> str:
    """The command's text, or the cell's; of an event that begins one."""
    return str(data.get("command") or data.get("code") or "")


@dataclass(frozen=True, slots=True)
class Ending:
    """``how`` in a few words, such as ``exit 1``; ``state`` is ``ok``, ``late`` or ``bad``."""

    how: str
    state: str


def ending_of(data: Mapping[str, Any]) -> Ending:
    """How one ended; of an event that ends one."""
    if data.get("status") is not None:
        status = str(data["status"])
        return Ending(status, "ok" if status == "ok" else "bad")
    if data.get("timed_out"):
        return Ending("timed out", "late")
    if data.get("exit_code") is None:
        return Ending(f"signal {data.get('signal') or 'unknown'}", "bad")
    return Ending(f"exit {data['exit_code']}", "ok" if data["exit_code"] == 0 else "bad")
