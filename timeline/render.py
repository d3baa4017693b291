"""The one place that renders events: the same rows for history and for the live stream."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from django.template.loader import get_template, select_template
from django.utils.html import escape as escape_attribute
from django.utils.safestring import SafeString

from timeline import ansi
from timeline.events import OUTPUT_KINDS, Event, Kind

_FOLDER: Final = "timeline/rows"
_KINDS: Final = frozenset(kind.value for kind in Kind)
_TOOLS: Final = (
    ("command", "prompt", "Copy the command"),
    ("output", "copy", "Copy the output"),
    ("download", "download", "Download the whole output"),
)
LONG_LINE: Final = 4096
_STREAMS: Final = ("stdout", "stderr")
_OUTPUTS: Final = (*OUTPUT_KINDS, Kind.TERMINAL_OUTPUT)
_FULL_SCREEN: Final = '<span class="out-left">A full-screen program drew here</span>'
# What moves a terminal's cursor back or rings, which a line of text has no use for.
_MOVES: Final = str.maketrans("", "", "\b\x07")

log = logging.getLogger(__name__)


def render_rows(events: Sequence[Event]) -> str:
    """The rows of these events, one behind the other. Never raises for what an event holds."""
    return "".join(map(render_row, events))


def render_row(event: Event) -> str:
    """One row. Output is most of a timeline and has a path of its own; the rest are templates."""
    try:
        if event.kind in _OUTPUTS:
            return _output(event)
        return _structural(event)
    except Exception:
        log.exception("Event %s #%d cannot be shown as it is", event.sandbox_id, event.seq)
        return _other(event)


def render_stub(event: Event) -> str:
    """The card of a command that began before the page: its head, for its rows to go into."""
    return _structural(event, part="stub")


def render_part(event: Event, *, part: str) -> str:
    """The card of a command of whose output only a part follows: its ``tail`` or ``matches``."""
    return _structural(event, part=part)


def _structural(event: Event, *, part: str = "") -> str:
    template = _template(event.kind if event.kind in _KINDS else "other")
    context = {"event": event, "data": event.data, "part": part, "tools": _tools()}
    html: str = template.render(context)
    return html


@cache
def _tools() -> SafeString:
    """The same for every command, so made once."""
    return SafeString(get_template(f"{_FOLDER}/tools.html").render({"tools": _TOOLS}))


def _other(event: Event) -> str:
    html: str = _template("other").render({"event": event, "data": {}, "part": ""})
    return html


@cache
def _template(name: str) -> Any:
    """Kinds that have no template of their own share one."""
    if name == "other":
        return get_template(f"{_FOLDER}/other.html")
    return select_template([f"{_FOLDER}/{name}.html", f"{_FOLDER}/other.html"])


def _output(event: Event) -> str:
    data = event.data
    stream = data.get("stream")
    text = str(data.get("text", ""))
    if event.kind == Kind.TERMINAL_OUTPUT:
        text = text.translate(_MOVES)
    full_screen = data.get("full_screen") is True
    body = _FULL_SCREEN if full_screen else ansi.to_html(text, sgr=str(data.get("sgr") or ""))
    span = f' data-span="{escape_attribute(event.span)}"' if event.span else ""
    long = " data-long" if has_long_line(str(data.get("text", ""))) else ""
    return (
        f'<span class="out" id="e{event.seq}" data-seq="{event.seq}" data-kind="{event.kind}"'
        f' data-at="{event.at}"{span} data-stream="{stream if stream in _STREAMS else "stdout"}"'
        f"{long}>{_left_out(data)}{body}</span>"
    )


def has_long_line(text: str) -> bool:
    """Whether a browser would lay out this text and its neighbours as one endless line: such a
    chunk is a block of its own, which costs no more than it holds."""
    return len(text) > LONG_LINE and any(len(line) > LONG_LINE for line in text.split("\n"))


def _left_out(data: Mapping[str, Any]) -> str:
    """What was left out lies on the host from this offset on, until the sandbox ends."""
    dropped = int(data.get("dropped") or 0)
    if not dropped:
        return ""
    begins = max(0, int(data.get("offset") or 0) - dropped)
    return (
        f'<span class="out-left">{dropped:,} bytes of output are not on the timeline '
        f'<button type="button" data-rest="{begins}">Load</button> '
        f'<button type="button" data-tool="download">Download all</button></span>'
    )
