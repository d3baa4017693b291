"""The cookbook of the API page: each recipe in the languages that it makes sense in.

The files beside this one are shown as they are; the tests run each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from django.utils.safestring import SafeString

from timeline.highlighting import highlighted

_FOLDER: Final = Path(__file__).parent

TITLES: Final = {
    "1": ("Run code that a model wrote", "The sandbox is gone afterwards. Its timeline stays."),
    "2": ("An agent loop", "Files and processes carry over from one command to the next."),
    "3": ("Install packages", "Registries are on the default allowlist; all else is refused."),
    "4": ("Park it between turns", "Processes, memory and files wait, and the meter stands still."),
    "5": ("Data in, artifact out", ""),
    "6": ("Stream a long command", "Who breaks off leaves the command to its own timeout."),
    "7": ("Fan out", "As many at once as the plan covers."),
    "8": ("Timeouts and limits", "What a command wrote before its time was up is still there."),
    "9": ("Production habits", ""),
}


@dataclass(frozen=True, slots=True)
class Language:
    """A tab of the page."""

    key: str
    label: str
    ending: str
    lexer: str


LANGUAGES: Final = (
    Language("python", "Python", "py", "python"),
    Language("javascript", "JavaScript", "mjs", "javascript"),
    Language("curl", "curl", "sh", "bash"),
    Language("mcp", "MCP", "json", "json"),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One of them, coloured for a page."""

    number: str
    title: str
    why: str
    text: SafeString


def files(language: Language) -> dict[str, Path]:
    """Its files by the recipe's number."""
    found = (_FOLDER / language.key).glob(f"*.{language.ending}")
    return {path.stem: path for path in sorted(found)}


@cache
def cookbook() -> list[tuple[Language, list[Recipe]]]:
    """All of it."""
    return [
        (
            language,
            [
                Recipe(number, *TITLES[number], _coloured(path.read_text(), language.lexer))
                for number, path in files(language).items()
            ],
        )
        for language in LANGUAGES
    ]


def _coloured(text: str, lexer: str) -> SafeString:
    return SafeString("\n".join(highlighted(text.rstrip("\n"), lexer)))
