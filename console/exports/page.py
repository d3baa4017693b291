"""One HTML file that plays a run offline: nothing in it is fetched, nothing of the run is alive.

Its policy lets only the player's own script run, known by its digest. Every event is one line of
the file, so that whoever downloads it can tell how far it is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from html import escape as escape_attribute
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from console.exports.reading import events_until
from console.exports.redact import Redactor, redact
from timeline import ansi
from timeline.commands import asked, ending_of
from timeline.events import BEGINNINGS, ENDINGS, OUTPUT_KINDS, Actor, Event, Kind
from timeline.inert import inert
from timeline.summary import summary
from timeline.templatetags.timeline_rows import duration, keys

_OUTPUTS: Final = (*OUTPUT_KINDS, Kind.TERMINAL_OUTPUT)
_MOVES: Final = str.maketrans("", "", "\b\x07")
_WHO: Final = {"token": "agent", "person": "person", "policy": "policy"}
_BAD: Final = ("sandbox.failed", "limit.hit", "network.denied", "signal.raised", "code.error")


@dataclass(frozen=True, slots=True)
class About:
    """What the page says of its run."""

    sandbox_id: str
    template: str
    status: str
    began: int
    last: int


async def offline_page(about: About) -> AsyncIterator[bytes]:
    """The whole file, in pieces."""
    yield _head(about).encode()
    writer = _Writer(about.began)
    async for page in events_until(sandbox_id=about.sandbox_id, last=about.last):
        yield "".join(writer.line(event) for event in page).encode()
    yield (writer.rest() + _tail()).encode()


@cache
def _asset(name: str) -> str:
    folder: Path = settings.BASE_DIR / "static" / "console" / "export"
    return (folder / name).read_text()


def _head(about: About) -> str:
    digest = hashlib.sha256(_asset("player.js").encode()).digest()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{base64.b64encode(digest).decode()}'"
    )
    when = datetime.fromtimestamp(about.began / 1_000_000, UTC)
    title = f"Run {about.sandbox_id}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape_attribute(title)}</title><style>{_asset('player.css')}</style></head>"
        f'<body><header><h1>{escape_attribute(about.sandbox_id)}</h1><p class="facts">'
        f"{escape_attribute(about.template)} · {escape_attribute(about.status)} · "
        f"{when:%d %b %Y, %H:%M} UTC · {about.last:,} events · secrets, people and tokens "
        'are left out</p><div class="bar" hidden>'
        '<button type="button" id="play" aria-label="Play">▶</button>'
        '<select id="speed" aria-label="Speed"><option value="1">1×</option>'
        '<option value="4" selected>4×</option><option value="16">16×</option>'
        '<option value="64">64×</option></select>'
        '<input id="at" type="range" min="0" max="1000" value="1000" '
        'aria-label="Moment of the run">'
        '<output id="clock"></output>'
        '<label><input id="failed" type="checkbox"> Failed only</label></div></header>'
        '<main id="run">\n'
    )


def _tail() -> str:
    return f"</main><script>{_asset('player.js')}</script></body></html>\n"


@dataclass(slots=True)
class _Writer:
    """Lines of the page, with what was on in a stream where a held piece of it begins."""

    began: int
    redactor: Redactor = field(default_factory=Redactor)
    colours: dict[str, str] = field(default_factory=dict)

    def line(self, event: Event) -> str:
        """One event as one line."""
        if event.kind in _OUTPUTS:
            html = self._output(event)
        elif event.kind in BEGINNINGS:
            html = self._row(event, "start", _start(event))
        elif event.kind in ENDINGS:
            html = self._flush(event) + self._row(event, "end", _end(event), state=_state(event))
        else:
            state = "bad" if event.kind in _BAD else ""
            html = self._row(event, "line", _line(event), state=state)
        return html.replace("\n", "&#10;") + "\n"

    def rest(self) -> str:
        """What was held back of streams that did not end."""
        return "".join(self._held(stream, "") for stream in list(self.colours))

    def _row(self, event: Event, css: str, html: str, *, state: str = "") -> str:
        attributes = f' data-span="{escape_attribute(event.span)}"' if event.span else ""
        attributes += f' data-state="{state}"' if state else ""
        ms = max(0, event.at - self.began) // 1000
        return f'<div class="{css}" data-t="{ms}" data-n="{event.seq}"{attributes}>{html}</div>'

    def _output(self, event: Event) -> str:
        data = event.data
        text = str(data.get("text", ""))
        if event.kind == Kind.TERMINAL_OUTPUT:
            text = text.translate(_MOVES)
        if data.get("full_screen") is True:
            return self._row(event, "line", "A full-screen program drew here")
        stream = f"{event.span} {data.get('stream', '')}"
        began = self.colours.get(stream, str(data.get("sgr") or ""))
        said = self.redactor.add(stream, text)
        self.colours[stream] = ansi.style_after(said, sgr=began)
        dropped = int(data.get("dropped") or 0)
        left = f'<i class="left">{dropped:,} bytes are not on the timeline</i>' if dropped else ""
        if not said and not left:
            return ""
        css = "out err" if data.get("stream") == "stderr" else "out"
        return self._row(event, css, left + ansi.to_html(said, sgr=began))

    def _flush(self, event: Event) -> str:
        mine = [one for one in self.colours if one.startswith(f"{event.span} ")]
        ms = max(0, event.at - self.began) // 1000
        span = escape_attribute(event.span or "")
        return "".join(self._held(one, f' data-t="{ms}" data-span="{span}"') for one in mine)

    def _held(self, stream: str, attributes: str) -> str:
        began, said = self.colours.pop(stream, ""), self.redactor.end(stream)
        if not said:
            return ""
        css = "out err" if stream.endswith(" stderr") else "out"
        return f'<div class="{css}"{attributes}>{ansi.to_html(said, sgr=began)}</div>'


def _start(event: Event) -> str:
    data = event.data
    text = asked(data) or "Terminal"
    where = f"{inert(redact(str(data.get('cwd') or '')))} · {_who(event.actor)}"
    return f'<b class="cmd">{ansi.escape(redact(text))}</b><i>{ansi.escape(where)}</i>'


def _end(event: Event) -> str:
    took = duration(event.data.get("duration_ms"))
    return f"{ansi.escape(ending_of(event.data).how)}{', ' + took if took else ''}"


def _state(event: Event) -> str:
    good = event.kind == Kind.TERMINAL_CLOSED or ending_of(event.data).state == "ok"
    return "ok" if good else "bad"


def _line(event: Event) -> str:
    if event.kind == Kind.TERMINAL_INPUT:
        typed = "hidden" if event.data.get("hidden") else keys(event.data.get("text"))
        return f"<b>typed</b> {ansi.escape(redact(typed))}"
    word = event.kind.replace(".", " ").replace("_", " ")
    text = summary(event)
    told = f" {ansi.escape(redact(text))}" if text != word else ""
    html = f"<b>{ansi.escape(word)}</b>{told} <i>{_who(event.actor)}</i>"
    diff = event.data.get("diff")
    return html + _diff(diff) if isinstance(diff, str) and diff else html


def _diff(diff: str) -> str:
    told = ansi.escape(redact(diff))
    return f"<details><summary>what changed</summary><pre>{told}</pre></details>"


def _who(actor: Actor) -> str:
    return _WHO.get(actor.type, "system")


def facts(sandbox: Any, *, began: int, last: int) -> About:
    """Of a sandbox's row."""
    status = sandbox.get_status_display().lower()
    return About(sandbox.id, sandbox.template, status, began, last)
