"""When a run may be stuck: plain rules over its events, fed one after the other.

``Run`` keeps a bounded memory of a run as JSON, so that no event is ever read twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from timeline.commands import BEGUN, ENDED, asked, ending_of
from timeline.events import OUTPUT_KINDS, Kind
from timeline.inert import inert

REPEATS: Final = 3
STREAK: Final = 5
DENIALS: Final = 3
PROMPT_SECONDS: Final = 20
_CYCLES: Final = (2, 3, 4)
_KEPT: Final = 24
_MOST: Final = 100
_EVIDENCE: Final = 12
_SECOND: Final = 1_000_000
#: The end of output behind which a program waits for somebody to type, without a newline.
_PROMPT: Final = re.compile(
    r"(?:[?:>\]]|\by/n\)|press (?:enter|return|any key)[^\n]{0,40})[ \t]*\Z", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Told:
    """As much of an event as the rules look at; ``at`` in microseconds since the epoch."""

    seq: int
    at: int
    kind: str
    span: str | None
    data: Mapping[str, Any]


@dataclass(slots=True)
class Open:
    """A command or cell that runs."""

    seq: int
    key: str
    text: str
    spoke_at: int
    spoke: int = 0
    prompt: str = ""
    said: str = ""


@dataclass(slots=True)
class Done:
    """One that ended; ``code`` is its exit code or what stands for it, ``ok`` whether it is good.

    ``changed``: a file was written between the one before it and its end. ``said`` is a digest of
    how much it printed and of its last line.
    """

    seq: int
    key: str
    text: str
    code: str
    ok: bool
    changed: bool
    said: str = ""

    @property
    def outcome(self) -> tuple[str, ...]:
        """What it shares with one that got no further: one that went well prints the same, too."""
        return (self.key, self.code, self.said) if self.ok else (self.key, self.code)


@dataclass(slots=True)
class Write:
    """A file's last write: digests of what it changed, as it was done and turned around."""

    seq: int
    forward: str
    backward: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says now. ``key`` tells one apart from the next of the same rule."""

    rule: str
    key: str
    text: str
    evidence: list[int]


@dataclass(slots=True)
class Run:
    """The bounded memory of one run."""

    done: list[Done] = field(default_factory=list)
    open: dict[str, Open] = field(default_factory=dict)
    denied: dict[str, list[int]] = field(default_factory=dict)
    writes: dict[str, Write] = field(default_factory=dict)
    reverted: dict[str, list[int]] = field(default_factory=dict)
    changed: bool = False

    def to_json(self) -> dict[str, Any]:
        """For orjson, which writes the dataclasses in it much faster than ``asdict`` copies."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        """The reverse; nothing at all is a run that has only begun."""
        return cls(
            done=[Done(**one) for one in data.get("done", [])],
            open={span: Open(**one) for span, one in data.get("open", {}).items()},
            denied=dict(data.get("denied", {})),
            writes={path: Write(**one) for path, one in data.get("writes", {}).items()},
            reverted=dict(data.get("reverted", {})),
            changed=bool(data.get("changed")),
        )

    @property
    def asks(self) -> bool:
        """Whether the only command that runs said something like a question last."""
        return len(self.open) == 1 and any(one.prompt for one in self.open.values())

    def hear(self, event: Told) -> list[Finding]:
        """Take in the next event, and answer what holds by it. What it does not say is passed over.

        Of silences nothing: they hold by the time alone.
        """
        if event.kind in BEGUN and event.span:
            self._begun(event, event.span)
        elif event.kind in OUTPUT_KINDS and event.span in self.open:
            self._spoken(event, self.open[event.span])
        elif event.kind in ENDED and event.span in self.open:
            self._ended(event, self.open.pop(event.span))
            return [*self._repeated(), *self._circles(), *self._failing()]
        elif event.kind == Kind.FILE_WRITTEN:
            self._written(event)
            return list(self._reverts(str(event.data.get("path", ""))))
        elif event.kind == Kind.NETWORK_DENIED:
            self._denied(event)
            return list(self._denials(str(event.data.get("host", ""))))
        elif event.kind == Kind.NETWORK_ALLOWED:
            self.denied.pop(str(event.data.get("host", "")), None)
        return []

    def _begun(self, event: Told, span: str) -> None:
        text = asked(event.data)
        key = _digest(event.kind, text, str(event.data.get("cwd", "")))
        self.open[span] = Open(event.seq, key, _short(text), event.at)
        _bound(self.open)

    def _spoken(self, event: Told, one: Open) -> None:
        one.spoke_at, one.spoke = event.at, event.seq
        tail = str(event.data.get("tail") or "")
        one.said = _short((tail.splitlines() or [""])[-1])
        one.prompt = _short(tail.splitlines()[-1]) if _PROMPT.search(tail) else ""

    def _ended(self, event: Told, one: Open) -> None:
        ending = ending_of(event.data)
        code = "a timeout" if ending.state == "late" else ending.how
        ok = ending.state == "ok"
        lengths = [str(event.data.get(name)) for name in ("stdout_bytes", "stderr_bytes")]
        said = _digest(one.said, *lengths)
        self.done.append(Done(one.seq, one.key, one.text, code, ok, self.changed, said))
        self.changed = False
        del self.done[:-_KEPT]

    def _written(self, event: Told) -> None:
        path, diff = str(event.data.get("path", "")), str(event.data.get("diff") or "")
        self.changed = True
        before = self.writes.pop(path, None)
        self.reverted.pop(path, None)
        if not diff:
            return
        write = Write(event.seq, _change(diff, "-", "+"), _change(diff, "+", "-"))
        self.writes[path] = write
        if before and before.forward == write.backward:
            self.reverted[path] = [before.seq, write.seq]
        _bound(self.writes)
        _bound(self.reverted)

    def _denied(self, event: Told) -> None:
        host = str(event.data.get("host", ""))
        if host:
            self.denied[host] = [*self.denied.pop(host, []), event.seq][-_EVIDENCE:]
            _bound(self.denied)

    def findings(
        self, *, now: int, since: int, quiet_seconds: int, works: bool = False
    ) -> Iterator[Finding]:
        """Everything that holds at ``now``; a silence before ``since`` (a pause) does not count.

        ``works``: what runs computes, so that it does not wait for anybody.
        """
        yield from self._repeated()
        yield from self._circles()
        yield from self._failing()
        for one in self.open.values():
            silent = (now - max(one.spoke_at, since)) // _SECOND
            yield from _silent(one, silent, quiet_seconds, works=works)
        for host in self.denied:
            yield from self._denials(host)
        for path in self.reverted:
            yield from self._reverts(path)

    def _denials(self, host: str) -> Iterator[Finding]:
        seqs = self.denied.get(host, [])
        if len(seqs) >= DENIALS:
            text = f"{inert(host)} was denied {_times(len(seqs))}, the run keeps asking for it."
            yield Finding("denied", _digest("denied", host), text, seqs)

    def _reverts(self, path: str) -> Iterator[Finding]:
        seqs = self.reverted.get(path)
        if seqs:
            text = f"{_short(path)} was edited and the edit taken back."
            yield Finding("reverted", _digest("reverted", path, str(seqs[1])), text, seqs)

    def next_look(self, *, since: int, quiet_seconds: int) -> int | None:
        """When time alone may change what holds: the next silence that becomes long."""
        waits = [
            max(one.spoke_at, since) + _SECOND * (PROMPT_SECONDS if one.prompt else quiet_seconds)
            for one in self.open.values()
        ]
        return min(waits, default=None)

    def _repeated(self) -> Iterator[Finding]:
        streak = self._tail(lambda one, last: one.outcome == last.outcome)
        if len(streak) >= REPEATS:
            last = streak[-1]
            how = f"{last.code} and the same output" if last.ok else last.code
            text = f"{last.text} ran {_times(len(streak))} in a row, each with {how}."
            key = _digest("repeated", last.key, last.code)
            yield Finding("repeated", key, text, [one.seq for one in streak[-_EVIDENCE:]])

    def _tail(self, same: Any) -> list[Done]:
        """The last ones alike, between which no file was written."""
        streak: list[Done] = []
        for one in reversed(self.done):
            if not same(one, self.done[-1]):
                break
            streak.append(one)
            if one.changed:
                break
        return streak[::-1]

    def _circles(self) -> Iterator[Finding]:
        for length in _CYCLES:
            rounds = self.done[-length * REPEATS :]
            keys = [one.outcome for one in rounds]
            if len(keys) < length * REPEATS or len(set(keys)) != length:
                continue
            if keys != keys[:length] * REPEATS or any(one.changed for one in rounds[1:]):
                continue
            first = min(keys[:length])
            text = f"The same {length} commands ran {_times(REPEATS)} in a row, with the same ends."
            yield Finding(
                "loop", _digest("loop", *map(str, first)), text, [one.seq for one in rounds]
            )
            return

    def _failing(self) -> Iterator[Finding]:
        streak: list[Done] = []
        for one in reversed(self.done):
            if one.ok:
                break
            streak.append(one)
        if len(streak) >= STREAK and len({one.key for one in streak}) > 1:
            text = f"The last {len(streak)} commands failed."
            seqs = [one.seq for one in streak[:_EVIDENCE]][::-1]
            yield Finding("failing", _digest("failing"), text, seqs)


def _silent(one: Open, silent: int, quiet_seconds: int, *, works: bool) -> Iterator[Finding]:
    seqs = [one.seq, one.spoke] if one.spoke else [one.seq]
    key = (str(one.seq), str(one.spoke))
    if one.prompt and not works and silent >= PROMPT_SECONDS:
        text = f"{one.text} asks “{one.prompt}” and waits for input that nobody gives."
        yield Finding("waiting", _digest("waiting", *key), text, seqs)
    elif silent >= quiet_seconds:
        text = f"{one.text} runs and printed nothing for {quiet_seconds // 60 or 1} min."
        yield Finding("quiet", _digest("quiet", *key), text, seqs)


def _change(diff: str, minus: str, plus: str) -> str:
    """A digest of the lines that a unified diff takes and gives, in their order."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    taken = "\n".join(line[1:] for line in lines if line.startswith(minus))
    given = "\n".join(line[1:] for line in lines if line.startswith(plus))
    return _digest(taken, given)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def _short(text: str) -> str:
    line = inert((text.strip().splitlines() or [""])[0])
    return line if len(line) <= 80 else line[:79] + "…"


def _times(count: int) -> str:
    return f"{count} times"


def _bound(memory: dict[str, Any]) -> None:
    while len(memory) > _MOST:
        del memory[next(iter(memory))]
