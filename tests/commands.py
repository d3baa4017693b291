"""Logs of commands, as the host would have written them."""

from __future__ import annotations

from collections.abc import Iterator

from ulid import ULID

from timeline.events import SYSTEM, Kind, NewEvent
from timeline.services import events_append


def command(text: str, code: int | None = 0, *, output: str = "done\n") -> Iterator[NewEvent]:
    """The events of one; with ``code`` None it still runs."""
    span = f"cmd_{ULID()}"
    yield NewEvent(Kind.COMMAND_STARTED, {"command": text, "cwd": "/"}, SYSTEM, span)
    yield NewEvent(Kind.COMMAND_OUTPUT, {"stream": "stdout", "text": output}, SYSTEM, span)
    if code is not None:
        yield NewEvent(Kind.COMMAND_EXITED, {"exit_code": code}, SYSTEM, span)


def run_commands(sandbox_id: str, *commands: tuple[str, int | None]) -> None:
    """Append what a sandbox that was asked for these would have told."""
    events = [event for text, code in commands for event in command(text, code)]
    events_append(sandbox_id=sandbox_id, events=events)
