"""Terminal output as safe HTML: colours as classes, everything else escaped or made visible.

Only spans with fixed class names come out, so no output can style, script or restructure a page.
Every pattern here reads its input once, whatever the input is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

_SEQUENCE: Final = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]*)m"  # select graphic rendition: what becomes a class
    r"|\x1b\[[0-?]*[ -/]*[@-~]?"  # any other control sequence
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x9c|\x1b\\)"  # titles, links, device strings
    r"|\x1b[ -/]*[0-~]?"  # two-character escapes, a lone one, and strings that do not end
)
_SPACED: Final = re.compile(r"([34]8:2):[0-9]*:([0-9]+:[0-9]+:[0-9]+)")  # names a colour space
_UNDERLINE: Final = re.compile(r"(?<![0-9:])4:[1-9][0-9]*")  # curly, dotted and so on
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_UNSEEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_ESCAPES: Final = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"))
_BEGINS: Final = {
    1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 8: "hidden", 9: "strike",
}  # fmt: skip
_ENDS: Final = {
    22: {"bold", "dim"}, 23: {"italic"}, 24: {"underline"}, 27: {"inverse"}, 28: {"hidden"},
    29: {"strike"},
}  # fmt: skip
_ORDER: Final = ("bold", "dim", "italic", "underline", "inverse", "hidden", "strike")

# The sixteen colours a page has classes for, as terminals commonly show them.
_PALETTE: Final = (
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205),
    (0, 205, 205), (229, 229, 229), (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0),
    (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
)  # fmt: skip
_CUBE: Final = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, slots=True)
class Style:
    """What is switched on at a place in the output. Colours are indexes 0…15."""

    foreground: int | None = None
    background: int | None = None
    flags: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        """The class attribute; empty for plain text."""
        names = [f"ansi-{flag}" for flag in _ORDER if flag in self.flags]
        if self.foreground is not None:
            names.append(f"ansi-fg-{self.foreground}")
        if self.background is not None:
            names.append(f"ansi-bg-{self.background}")
        return " ".join(names)


PLAIN: Final = Style()


def to_html(text: str, *, sgr: str = "") -> str:
    """One chunk of output as HTML. ``sgr`` is what was switched on where it starts: ``1;31``."""
    if "\r" in text:
        text = _collapse(text)
    style = _styled(PLAIN, sgr.removeprefix("\x1b[").removesuffix("m")) if sgr else PLAIN
    if "\x1b" not in text:
        return _span(style, text)
    return "".join(_span(style, piece) for style, piece in _pieces(text, style))


def plain(text: str) -> str:
    """Output without its escape sequences, as somebody would search it."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def only_colours(text: str) -> str:
    """The text with its colours and without any other control, for a terminal that plays it."""
    kept = _SEQUENCE.sub(lambda match: match[0] if match["sgr"] is not None else "", text)
    return _UNSEEN.sub("", kept)


def style_after(text: str, *, sgr: str = "") -> str:
    """What is on where the text ends, as ``to_html`` takes it for what follows."""
    codes = [sgr.removeprefix("\x1b[").removesuffix("m")] if sgr else []
    for match in _SEQUENCE.finditer(text):
        if (code := match["sgr"]) is not None:
            codes = [] if code in {"", "0"} else [*codes, code]
    return ";".join(codes[-16:])


def escape(text: str) -> str:
    """Text for HTML, with what has no shape of its own (controls, bidi, zero width) shown."""
    for character, entity in _ESCAPES:
        if character in text:
            text = text.replace(character, entity)
    return text if text.isascii() and text.isprintable() else _INVISIBLE.sub(_visible, text)


def _span(style: Style, text: str) -> str:
    if not text:
        return ""
    classes = _classes(style)
    return f'<span class="{classes}">{escape(text)}</span>' if classes else escape(text)


@lru_cache(maxsize=1024)
def _classes(style: Style) -> str:
    return style.classes


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        sign = chr(0x2400 + code)
    elif code == 0x7F:
        sign = "\u2421"
    else:
        sign = f"U+{code:04X}"
    return f'<span class="ansi-control" title="U+{code:04X}">{sign}</span>'


def _collapse(text: str) -> str:
    """A line that was drawn again and again after carriage returns, as it was left."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(_last_drawn(line) if "\r" in line else line for line in lines)


def _last_drawn(line: str) -> str:
    """The last state with something to see, behind the colour changes of those before it."""
    states = line.split("\r")
    last = max((index for index, state in enumerate(states) if _SEQUENCE.sub("", state)), default=0)
    changes = _SEQUENCE.finditer("\r".join(states[:last]))
    colours = "".join(change[0] for change in changes if change["sgr"] is not None)
    return colours + "".join(states[last:])


def _pieces(text: str, style: Style) -> Iterator[tuple[Style, str]]:
    """The text between sequences, each with its style; neighbours of one style are one piece."""
    at = 0
    pending: list[str] = []
    for match in _SEQUENCE.finditer(text):
        pending.append(text[at : match.start()])
        at = match.end()
        codes = match["sgr"]
        changed = style if codes is None else _styled(style, codes)
        if changed != style:
            yield style, "".join(pending)
            pending.clear()
            style = changed
    pending.append(text[at:])
    yield style, "".join(pending)


@lru_cache(maxsize=4096)
def _styled(style: Style, codes: str) -> Style:
    """A style after the parameters of one SGR sequence, such as ``1;38;5;208``."""
    codes = _UNDERLINE.sub("4", _SPACED.sub(r"\1:\2", codes[:256]))
    numbers = [int(code or 0) for code in re.split("[;:]", codes) if code.isdecimal() or not code]
    index = 0
    while index < len(numbers):
        number = numbers[index]
        if number in (38, 48):
            colour, used = _extended(numbers[index + 1 :])
            style = _coloured(style, number == 48, colour)
            index += used
        else:
            style = _simple(style, number)
        index += 1
    return style


def _coloured(style: Style, is_background: bool, colour: int | None) -> Style:
    return replace(style, background=colour) if is_background else replace(style, foreground=colour)


def _simple(style: Style, number: int) -> Style:
    if number == 0:
        return PLAIN
    if number in _BEGINS:
        return replace(style, flags=style.flags | {_BEGINS[number]})
    if number in _ENDS:
        return replace(style, flags=style.flags - _ENDS[number])
    return _base_colour(style, number)


def _base_colour(style: Style, number: int) -> Style:
    """30…37, 40…47 and their bright ones at 90 and 100; 39 and 49 switch back."""
    base, colour = number // 10 * 10, number % 10
    if base in (30, 40) and colour != 8:
        return _coloured(style, base == 40, colour if colour < 8 else None)
    if base in (90, 100) and colour < 8:
        return _coloured(style, base == 100, colour + 8)
    return style


def _extended(numbers: Sequence[int]) -> tuple[int | None, int]:
    """A colour of 256 or of true colour as the nearest of sixteen, and how many numbers it took."""
    if len(numbers) >= 2 and numbers[0] == 5:
        return _of_256(min(numbers[1], 255)), 2
    if len(numbers) >= 4 and numbers[0] == 2:
        red, green, blue = (min(number, 255) for number in numbers[1:4])
        return _nearest(red, green, blue), 4
    return None, len(numbers)


def _of_256(number: int) -> int:
    if number < 16:
        return number
    if number >= 232:
        level = 8 + (number - 232) * 10
        return _nearest(level, level, level)
    number -= 16
    return _nearest(_CUBE[number // 36], _CUBE[number // 6 % 6], _CUBE[number % 6])


@lru_cache(maxsize=4096)
def _nearest(red: int, green: int, blue: int) -> int:
    """By distance as eyes weigh it, roughly."""

    def distance(index: int) -> int:
        r, g, b = _PALETTE[index]
        return 3 * (r - red) ** 2 + 4 * (g - green) ** 2 + 2 * (b - blue) ** 2

    return min(range(16), key=distance)
