"""What a kernel says, read without trusting a byte of it.

A message is ``u32 length | JSON`` (little endian) on the kernel's stdout. Its ``kind``:

    ready                                            it takes cells now
    stream   cell, stream, text                      what code printed
    result   cell, final, text, html, png, json      the last three may be null; ``png`` is base64,
                                                     ``json`` is JSON as text
    error    cell, name, value, traceback            the code raised
    done     cell, count, truncated                  the cell is over
    missing  cell                                    answer to a ``check``: it never came
    bye                                              the code asked to leave

To the kernel go ``{cell, piece, last, code}``, ``{interrupt: cell}`` and ``{check: cell}``.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sandboxes.host.types import Stream

LENGTH: Final = struct.Struct("<I")
#: Bytes of one message; every representation of one result fits.
MESSAGE_LIMIT: Final = 12 * 1024 * 1024
#: Bytes that a kernel may say about one cell.
CELL_LIMIT: Final = 64 * 1024 * 1024
STREAM_LIMIT: Final = 4 * 1024 * 1024
RESULTS_LIMIT: Final = 64
PNG: Final = b"\x89PNG\r\n\x1a\n"
_TRACEBACK_LINES: Final = 2000
_TRUNCATED: Final = ("stdout", "stderr", "results", "text", "html", "png", "json")


class BrokenKernelError(Exception):
    """What a kernel said that no kernel of ours would."""


@dataclass(frozen=True, slots=True)
class Ready:
    """It takes cells."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What code printed."""

    cell: str
    stream: Stream
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """One rich output. ``png`` is base64 of what begins like a PNG; ``json`` is parsed."""

    cell: str
    final: bool
    text: str | None
    html: str | None
    png: str | None
    json: Any

    @property
    def type(self) -> str:
        """The richest of its representations."""
        if self.png is not None:
            return "image_png"
        if self.html is not None:
            return "html"
        return "json" if self.json is not None else "text"

    def to_json(self) -> dict[str, Any]:
        """As the wire has it."""
        parts = {"text": self.text, "html": self.html, "png": self.png, "json": self.json}
        return {"type": self.type, **parts, "chart": None}


@dataclass(frozen=True, slots=True)
class CodeError:
    """What the code raised, or what became of its kernel."""

    name: str
    value: str
    traceback: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "traceback": list(self.traceback)}


@dataclass(frozen=True, slots=True)
class Raised:
    """The cell raised; ``Done`` follows."""

    cell: str
    error: CodeError


@dataclass(frozen=True, slots=True)
class Done:
    """The cell is over."""

    cell: str
    count: int
    truncated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """The kernel never got this cell."""

    cell: str


@dataclass(frozen=True, slots=True)
class Bye:
    """The code asked to leave."""


Message = Ready | Printed | Result | Raised | Done | Missing | Bye


@dataclass(slots=True)
class Splitter:
    """Cuts what a kernel says into messages. ``at`` counts the bytes of those taken out."""

    at: int = 0
    held: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[tuple[Message, int]]:
        """Each message with the offset behind it. Raises ``BrokenKernelError``."""
        self.held += data
        while len(self.held) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self.held)
            if size > MESSAGE_LIMIT:
                raise BrokenKernelError(f"a message of {size} bytes")
            end = LENGTH.size + size
            if len(self.held) < end:
                return
            body = bytes(self.held[LENGTH.size : end])
            del self.held[:end]
            self.at += end
            yield parse(body), self.at


def parse(body: bytes) -> Message:
    """One message. Raises ``BrokenKernelError`` for anything else."""
    try:
        row = orjson.loads(body)
    except ValueError as error:
        raise BrokenKernelError("a message that is not JSON") from error
    if not isinstance(row, dict):
        raise BrokenKernelError("a message that is no object")
    reader = _READERS.get(str(row.get("kind")))
    if reader is None:
        raise BrokenKernelError("a message of an unknown kind")
    return reader(row)


def _printed(row: Mapping[str, Any]) -> Printed:
    stream = row.get("stream")
    if stream not in ("stdout", "stderr"):
        raise BrokenKernelError("text of an unknown stream")
    return Printed(_text(row, "cell"), stream, _text(row, "text"))


def _result(row: Mapping[str, Any]) -> Result:
    plain = _maybe(row, "json")
    try:
        parsed = orjson.loads(plain) if plain is not None else None
    except ValueError as error:
        raise BrokenKernelError("a result that is not JSON") from error
    return Result(
        cell=_text(row, "cell"),
        final=row.get("final") is True,
        text=_maybe(row, "text"),
        html=_maybe(row, "html"),
        png=_picture(_maybe(row, "png")),
        json=parsed if isinstance(parsed, dict | list) else None,
    )


def _picture(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenKernelError("an image that is not base64") from error
    return text if data.startswith(PNG) else None


def _raised(row: Mapping[str, Any]) -> Raised:
    lines = row.get("traceback")
    if not isinstance(lines, list):
        raise BrokenKernelError("an error without a traceback")
    traceback = tuple(str(line) for line in lines[-_TRACEBACK_LINES:])
    error = CodeError(_text(row, "name")[:200], _text(row, "value"), traceback)
    return Raised(_text(row, "cell"), error)


def _done(row: Mapping[str, Any]) -> Done:
    count, cut = row.get("count"), row.get("truncated")
    if not isinstance(count, int) or not 0 <= count < 1 << 31 or not isinstance(cut, list):
        raise BrokenKernelError("an impossible end of a cell")
    return Done(_text(row, "cell"), count, tuple(name for name in _TRUNCATED if name in cut))


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise BrokenKernelError(f"a message without {name}")
    return value


def _maybe(row: Mapping[str, Any], name: str) -> str | None:
    return _text(row, name) if row.get(name) is not None else None


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Message]]] = {
    "ready": lambda _: Ready(),
    "stream": _printed,
    "result": _result,
    "error": _raised,
    "done": _done,
    "missing": lambda row: Missing(_text(row, "cell")),
    "bye": lambda _: Bye(),
}
