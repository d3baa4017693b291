"""The commands and terminals of a run as one asciicast v2, for players of terminal recordings.

Such a file is played in real terminals, so that of control sequences only colours are left in it:
of a terminal this is its text. What was drawn in it is in the recording that each terminal has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

from console.exports.reading import events_until
from console.exports.redact import Redactor, redact
from timeline import ansi
from timeline.commands import BEGUN, ENDED, asked, ending_of
from timeline.events import OUTPUT_KINDS, Event, Kind
from timeline.templatetags.timeline_rows import duration

_SECOND: Final = 1_000_000
_OF_TERMINALS: Final = (Kind.TERMINAL_OPENED, Kind.TERMINAL_OUTPUT, Kind.TERMINAL_CLOSED)
_FULL_SCREEN: Final = "\n[a full-screen program drew here]\n"
# What moves a terminal's cursor back or rings, which a line of text has no use for.
_MOVES: Final = str.maketrans("", "", "\b\x07")


async def asciicast(*, sandbox_id: str, last: int, began: int) -> AsyncIterator[bytes]:
    """Up to the event ``last``; ``began`` is the run's first moment in microseconds."""
    header = {
        "version": 2,
        "width": 120,
        "height": 36,
        "timestamp": began // _SECOND,
        "idle_time_limit": 2.0,
        "title": sandbox_id,
        "env": {"TERM": "xterm-256color"},
    }
    yield orjson.dumps(header) + b"\n"
    at, redactor = 0.0, Redactor()
    async for page in events_until(sandbox_id=sandbox_id, last=last):
        lines = []
        for event in page:
            # A player goes forward only, and clocks of machines do not.
            at = max(at, (event.at - began) / _SECOND)
            lines += [
                orjson.dumps([round(at, 6), *told]) + b"\n" for told in _told(event, redactor)
            ]
        yield b"".join(lines)


def _told(event: Event, redactor: Redactor) -> list[list[str]]:
    data = event.data
    streams = [f"{event.span} {name}" for name in ("stdout", "stderr")]
    if event.kind in _OF_TERMINALS:
        return _told_of_terminal(event, redactor)
    if event.kind in BEGUN:
        text = asked(data)
        line = "\x1b[1;32m$\x1b[0m \x1b[1m" + _plain(text) + "\x1b[0m\n"
        return [["o", _drawn(line)], ["m", _plain(text.strip().partition("\n")[0])[:80]]]
    if event.kind in OUTPUT_KINDS:
        stream = streams[data.get("stream") == "stderr"]
        said = redactor.add(stream, str(data.get("text", "")))
        return [["o", _drawn(ansi.only_colours(said))]] if said else []
    if event.kind in ENDED:
        held = "".join(ansi.only_colours(redactor.end(stream)) for stream in streams)
        return [["o", _drawn(held + _ending(data))]]
    return []


def _told_of_terminal(event: Event, redactor: Redactor) -> list[list[str]]:
    data, stream = event.data, f"{event.span} terminal"
    if event.kind == Kind.TERMINAL_OPENED:
        return [["o", _drawn("\x1b[1;34m[a terminal opens]\x1b[0m\n")], ["m", "Terminal"]]
    if event.kind == Kind.TERMINAL_CLOSED:
        held = ansi.only_colours(redactor.end(stream))
        return [["o", _drawn(f"{held}\x1b[0m\n\x1b[34m[the terminal closes]\x1b[0m\n")]]
    if data.get("full_screen") is True:
        return [["o", _drawn(_FULL_SCREEN)]]
    said = redactor.add(stream, str(data.get("text", "")).translate(_MOVES))
    return [["o", _drawn(ansi.only_colours(said))]] if said else []


def _ending(data: dict[str, Any]) -> str:
    ending, took = ending_of(data), duration(data.get("duration_ms"))
    how = f"ended by {ending.how}" if ending.how.startswith("signal ") else ending.how
    colour = 2 if ending.state == "ok" else 31
    return f"\x1b[0m\x1b[{colour}m[{_plain(how)}, {took}]\x1b[0m\n"


def _plain(text: str) -> str:
    return ansi.only_colours(redact(text)).replace("\x1b", "")


def _drawn(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")
