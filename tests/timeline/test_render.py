from __future__ import annotations

import base64
import re
import struct
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from timeline.events import Actor, Event, Kind
from timeline.frames import rows, utf16_units
from timeline.render import render_row, render_rows, render_stub
from timeline.templatetags.timeline_rows import python

HOSTILE = "\"><script>alert(1)</script><img src=x onerror='x'>\u202e"


def event(kind: str, seq: int = 7, span: str | None = None, **data: Any) -> Event:
    actor = Actor("token", id="tok_1", name="agent", prefix="ork_abcd")
    return Event("sbx_1", seq, 1_700_000_000_123_456, kind, actor, span, data)


class Elements(HTMLParser):
    """What a page would hold: every element's name and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("kind", [*map(str, Kind), "code.surprise", "../../etc/passwd", HOSTILE])
def test_every_kind_is_a_row_that_scripts_can_rely_on(kind: str) -> None:
    html = render_row(event(kind, span="cmd_1"))
    name, attributes = Elements(html).found[0]
    assert attributes["id"] == "e7"
    assert attributes["data-seq"] == "7"
    assert attributes["data-kind"] == kind
    assert attributes["data-at"] == "1700000000123456"
    assert attributes["data-span"] == "cmd_1"
    assert name in {"span", "div", "article"}


FIELDS = [
    *("command", "cwd", "env_names", "path", "source", "destination", "detail", "reason"),
    *("template", "size", "mode", "text", "stream", "sgr", "limit", "value", "cap", "exit_code"),
    *("signal", "duration_ms", "timeout_seconds", "error", "network", "was", "dropped"),
    *("code", "context_id", "language", "html", "png", "json", "left_out", "what", "status"),
    *("name", "traceback", "execution_count", "truncated", "restarted"),
]


@pytest.mark.parametrize("kind", list(map(str, Kind)))
@pytest.mark.parametrize("value", [HOSTILE, None, -1, 1.5, [], {}, True, [HOSTILE], {"a": HOSTILE}])
def test_no_event_can_break_its_row_or_the_page(kind: str, value: Any) -> None:
    data = dict.fromkeys(FIELDS, value)
    row = Event("sbx_1", 7, 1, kind, Actor("person", name=HOSTILE), HOSTILE, data)
    html = render_row(row)
    elements = Elements(html).found
    assert elements[0][1]["id"] == "e7"
    assert not {"script", "img"} & {name for name, _ in elements}
    assert not [key for _, attributes in elements for key in attributes if key.startswith("on")]
    assert not [True for _, attributes in elements if "style" in attributes]


def test_output_is_one_inline_row_in_its_colours() -> None:
    html = render_row(
        event("command.output", span="cmd_1", stream="stderr", text="a\x1b[31mb\n", sgr="1")
    )
    assert html.startswith('<span class="out" id="e7" data-seq="7" data-kind="command.output"')
    assert 'data-span="cmd_1" data-stream="stderr"' in html
    assert '<span class="ansi-bold">a</span><span class="ansi-bold ansi-fg-1">b\n</span>' in html


def test_output_says_what_was_left_out() -> None:
    html = render_row(event("command.output", stream="stdout", text="end\n", dropped=1_234_567))
    assert "1,234,567 bytes" in re.sub("<[^>]*>", "", html)


def test_rows_stand_one_behind_the_other() -> None:
    events = [event("command.output", seq, text=f"{seq}\n") for seq in (1, 2, 3)]
    assert render_rows(events) == "".join(map(render_row, events))


def test_the_card_of_an_earlier_command_is_marked_as_a_stub() -> None:
    started = event("command.started", span="cmd_1", command="make", cwd="/workspace")
    assert "data-stub" in dict(Elements(render_stub(started)).found[0][1])
    assert "data-stub" not in dict(Elements(render_row(started)).found[0][1])


def test_a_frame_holds_what_fits_and_at_least_one_row() -> None:
    events = [event("command.output", seq, text="x" * 1000) for seq in range(5, 105)]
    frame = rows(events, most_units=10_000)
    assert frame.first == 5
    assert 5 < frame.last < 20
    assert frame.units <= 10_000
    assert rows(events, most_units=1).last == 5


def test_lengths_are_those_of_a_browser() -> None:
    assert utf16_units("aé€") == 3
    assert utf16_units("🙂") == 2


def png(width: int, height: int) -> str:
    """The head of an image that claims to be so large."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return base64.b64encode(head + bytes(20)).decode()


def test_a_figure_is_an_image_with_its_size() -> None:
    html = render_row(event("code.result", span="cell_1", png=png(640, 480), text="<Figure>"))
    (image,) = [attributes for name, attributes in Elements(html).found if name == "img"]
    assert image["src"] == f"data:image/png;base64,{png(640, 480)}"
    assert (image["width"], image["height"], image["alt"]) == ("640", "480", "<Figure>")


@pytest.mark.parametrize(
    "image", [png(60_000, 60_000), png(0, 5), "aGVsbG8=", 'x" onerror="y', "iVBORw0KGgo\n", ""]
)
def test_what_is_no_image_of_sane_size_is_not_shown_as_one(image: str) -> None:
    html = render_row(event("code.result", span="cell_1", png=image, text="words"))
    assert "img" not in {name for name, _ in Elements(html).found}
    assert "words" in html


def test_html_of_a_result_is_text() -> None:
    html = render_row(event("code.result", span="cell_1", html=HOSTILE))
    assert not {"script", "img"} & {name for name, _ in Elements(html).found}
    assert "&lt;script&gt;" in html


CODE = "def f(x):  # <b>\n    return f'{x}' + \"'\" * 2\n"


@pytest.mark.parametrize(
    "code", [CODE, "", "\n\n", "!ls 'oops", "é='ü';1", "if x:\n\ty\n  z", "x" * 20_000]
)
def test_marked_code_is_the_code(code: str) -> None:
    marked = python(code)
    assert unescape(re.sub(r"<[^>]*>", "", marked)) == code
    assert {name for name, _ in Elements(marked).found} <= {"span"}


def test_code_shows_what_has_no_shape() -> None:
    marked = python("x = 'admin\u202e' # \u2066\x0c\x00 <b>")
    assert not set("\u202e\u2066\x00") & set(marked)
    assert "&lt;b&gt;" in marked


def test_code_is_marked_by_what_its_words_are() -> None:
    marked = python(CODE)
    assert '<span class="hl-k">def</span>' in marked
    assert '<span class="hl-c"># &lt;b&gt;</span>' in marked
    assert '<span class="hl-m">2</span>' in marked
    assert "hl-s" in marked
