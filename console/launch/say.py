"""What a person at the terminal reads: progress lines with times, and problems with a way out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Problem(Exception):  # noqa: N818 - it is shown to people, not handled as an error
    """Something the person can mend. ``what`` is one sentence, ``advice`` says what to do."""

    def __init__(self, what: str, *, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


def line(text: str = "") -> None:
    print(text, flush=True)


def problem(error: Problem) -> None:
    """Prints a problem to stderr, after whatever is still waiting on stdout."""
    sys.stdout.flush()
    print(f"\n  ✗ {error.what}\n    {error.advice}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str, *, slow: str = "") -> Iterator[None]:
    """One progress line with its time. ``slow`` is said beforehand when there will be a wait."""
    if slow:
        line(f"  … {what}: {slow}")
    began = time.monotonic()
    yield
    line(f"  ✓ {what:<48} {time.monotonic() - began:6.1f} s")


def tail(log: Path, *, lines: int = 12) -> str:
    """The end of a log, indented, for a message about what went wrong."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"      {row}" for row in text.splitlines()[-lines:])
