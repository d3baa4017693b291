"""Text that a sandbox made up, so that it looks like what it is and moves nothing around it."""

from __future__ import annotations

from typing import Final

_PICTURES: Final[dict[int, int]] = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
#: What turns the direction of text around or hides in it: each is shown by its number.
_HIDDEN: Final = (
    *(0x061C, 0x200B, 0x200E, 0x200F, 0xFEFF),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x206A),
    *range(0x80, 0xA0),
)
_NAMES: Final[dict[int, int | str]] = {
    **_PICTURES,
    **{code: f"⟨U+{code:04X}⟩" for code in _HIDDEN},
}
_LINES: Final = {code: shown for code, shown in _NAMES.items() if code != ord("\t")}


def inert(name: str) -> str:
    """A name on one line: control characters as their pictures (␊ for a newline), those that
    reorder or hide text by their numbers."""
    return name.translate(_NAMES)


def inert_line(line: str) -> str:
    """The same for a line of a file, which may hold tabs."""
    return line.translate(_LINES)
