"""The agent's frames: building ours, and reading its own without trusting a byte of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sandboxes.host.types import Entry, HostError, Stream

HEAD: Final = struct.Struct("<IB")
#: Bytes of content in one DATA frame to a command, and in one of a file.
CHUNK: Final = 32 * 1024
FILE_CHUNK: Final = 256 * 1024
#: Bytes of the largest frame the agent may send; one that announces more is not believed.
ANSWER_LIMIT: Final = FILE_CHUNK
#: Bytes of one request (the agent's FRAME_MAX).
REQUEST_LIMIT: Final = 512 * 1024
PROTOCOL_VERSION: Final = 1

#: How the ids of terminals begin, which the agent lists beside commands.
TERMINAL: Final = "trm_"
#: The same of kernels.
KERNEL: Final = "krn_"
SPAWN_PTY: Final = 1
SPAWN_STDIN: Final = 2

#: Flags beside a WRITE's mode.
WRITE_TELL: Final = 0x80000000
WRITE_SAME: Final = 0x40000000


class Ask(IntEnum):
    """Frames to the agent. Their fields are documented in ``agent.h``."""

    SPAWN = 1
    ATTACH = 2
    ACK = 3
    FORGET = 4
    KILL = 5
    LIST = 6
    INPUT = 7
    RESIZE = 8
    PING = 9
    CLOCK = 10
    QUIESCE = 11
    RELEASE = 12
    FORWARD = 13
    CONNECT = 14
    READ = 20
    WRITE = 21
    DELETE = 22
    MKDIR = 23
    MOVE = 24
    STAT = 25
    DATA = 30
    END = 31


class Answer(IntEnum):
    """Frames from the agent."""

    STARTED = 64
    OUTPUT = 65
    EXITED = 66
    ERROR = 67
    OK = 68
    ENTRY = 69
    META = 70
    DATA = 71
    NAME = 72
    END = 73
    READY = 74


def lost(detail: str) -> HostError:
    """The agent is gone, or says what no agent of ours would."""
    return HostError(
        "agent_lost",
        f"The sandbox's agent is lost ({detail}); terminate the sandbox and create another.",
    )


def text(value: str | bytes) -> bytes:
    """A string field: length, bytes, NUL."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(raw)) + raw + b"\0"


def texts(values: Sequence[str | bytes]) -> bytes:
    """A counted list of string fields."""
    return struct.pack("<I", len(values)) + b"".join(map(text, values))


class Fields:
    """Reads the fields of an answer in order. Raises ``HostError`` agent_lost on a short frame."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def _take(self, form: str) -> int:
        size = struct.calcsize(form)
        if self._at + size > len(self._payload):
            raise lost("a frame too short")
        (value,) = struct.unpack_from(form, self._payload, self._at)
        self._at += size
        return int(value)

    def u8(self) -> int:
        return self._take("<B")

    def u32(self) -> int:
        return self._take("<I")

    def u64(self) -> int:
        return self._take("<Q")

    def text(self) -> str:
        """Bytes that are not UTF-8 (a file's name may hold any) become U+FFFD."""
        size = self.u32()
        end = self._at + size
        if end + 1 > len(self._payload):
            raise lost("a frame too short")
        raw = self._payload[self._at : end]
        self._at = end + 1
        return raw.decode("utf-8", "replace")

    @property
    def rest(self) -> bytes:
        """Whatever no field was read from."""
        return self._payload[self._at :]

    @property
    def more(self) -> bool:
        return self._at < len(self._payload)


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes a command wrote; ``offset`` is where they begin in its combined output."""

    stream: Stream
    offset: int
    data: bytes

    @classmethod
    def parse(cls, payload: bytes, *, expected: int) -> Output:
        """Raises ``HostError`` agent_lost unless the bytes continue at ``expected``."""
        fields = Fields(payload)
        number, offset, data = fields.u8(), fields.u64(), payload[9:]
        if number not in {1, 2} or offset != expected or not data:
            raise lost("output out of order")
        return cls("stdout" if number == 1 else "stderr", offset, data)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. Exactly one of ``exit_code`` and ``signal`` is set."""

    exit_code: int | None
    signal: int | None
    timed_out: bool
    duration_ms: int
    cpu_ms: int
    peak_memory_bytes: int

    @classmethod
    def parse(cls, payload: bytes) -> Ended:
        """Raises ``HostError`` agent_lost for values that no process has."""
        fields = Fields(payload)
        how, code, timed_out = fields.u8(), fields.u32(), bool(fields.u8())
        duration, cpu, memory = fields.u64(), fields.u64(), fields.u64()
        if how not in b"es" or code > 255 or max(duration, cpu, memory) >= 1 << 62:
            raise lost("an impossible end of a command")
        signal = code if how == ord("s") else None
        exit_code = code if how == ord("e") else None
        return cls(exit_code, signal, timed_out, duration // 1000, cpu // 1000, memory)


@dataclass(frozen=True, slots=True)
class Listed:
    """A command the agent still has. Offsets count bytes of its combined output."""

    command_id: str
    ended: bool
    pid: int
    acknowledged: int
    written: int
    age_ms: int

    @classmethod
    def parse(cls, payload: bytes) -> Listed:
        fields = Fields(payload)
        ended, pid = bool(fields.u8()), fields.u32()
        acknowledged, written, age = fields.u64(), fields.u64(), fields.u64()
        return cls(fields.text(), ended, pid, acknowledged, written, age)


@dataclass(frozen=True, slots=True)
class Meta:
    """What is at a path: ``kind`` is file, directory, other or nothing."""

    kind: str
    size: int
    mode: int
    modified_at: float

    @classmethod
    def parse(cls, payload: bytes) -> Meta:
        return cls.take(Fields(payload))

    @classmethod
    def take(cls, fields: Fields) -> Meta:
        """The next fields of an answer."""
        kind = {"f": "file", "d": "directory", "o": "other", "n": "nothing"}.get(chr(fields.u8()))
        size, mode, modified = fields.u64(), fields.u32(), fields.u64()
        if kind is None:
            raise lost("an unknown kind of file")
        return cls(kind, min(size, 1 << 62), mode & 0o7777, modified / 1e6)


@dataclass(frozen=True, slots=True)
class Ready:
    """What a write is about to replace. ``content`` is None unless it is small, and known."""

    meta: Meta
    content: bytes | None

    @classmethod
    def parse(cls, payload: bytes) -> Ready | None:
        """None from an agent that was built before it was asked."""
        if not payload:
            return None
        fields = Fields(payload)
        meta, is_told = Meta.take(fields), fields.u8()
        return cls(meta, fields.rest if is_told else None)


def names(payload: bytes) -> Iterable[Entry]:
    """The entries in one NAME frame."""
    fields = Fields(payload)
    while fields.more:
        is_dir, size, mode, modified = fields.u8(), fields.u64(), fields.u32(), fields.u64()
        yield Entry(
            name=fields.text().replace("\0", "\u2400"),
            is_dir=bool(is_dir),
            size=min(size, 1 << 62),
            mode=mode & 0o7777,
            modified_at=modified / 1e6,
        )
