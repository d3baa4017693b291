"""One command's record: its output file, its events, and where both have got to.

``commands/<id>.out`` is the whole output as it came, unmasked, to a ceiling. A position file
(``sandboxes.host.positions``) says what was asked and how far the journal has got.

The order is always: output file, journal, position, acknowledgement to the agent. A host that died
between any two of them finds by ``Seen`` what the journal has beyond the position, and lets those
bytes, which the agent sends again, pass without recording them twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sandboxes.host.agent.frames import Ended
from sandboxes.host.masking import masker_for
from sandboxes.host.output import STREAMS, TIMELINE_LIMIT, Gathered, StreamText, parted
from sandboxes.host.outputs import keep_secrets
from sandboxes.host.positions import Position
from sandboxes.host.types import Box, ExecRequest, Stream
from timeline.events import Actor, Kind, NewEvent, now_us

#: Bytes of a command's output that its file keeps.
FILE_CEILING: Final = 1024 * 1024 * 1024


@dataclass
class Seen:
    """What a journal already has of one command."""

    started: bool = False
    exited: bool = False
    ends: dict[str, int] = field(default_factory=dict)
    last: set[str] = field(default_factory=set)

    def note(self, event: NewEvent) -> None:
        self.started = self.started or event.kind == Kind.COMMAND_STARTED
        self.exited = self.exited or event.kind == Kind.COMMAND_EXITED
        if event.kind == Kind.COMMAND_OUTPUT:
            data = event.data
            if data.get("last"):
                self.last.add("dropped" if "dropped" in data else data["stream"])
            else:
                self.ends[data["stream"]] = data["end"]


def seen_in(events: Iterable[NewEvent]) -> dict[str, Seen]:
    """What a journal has of each command, by its id."""
    found: dict[str, Seen] = {}
    for event in events:
        if event.span is not None and event.kind.startswith("command."):
            found.setdefault(event.span, Seen()).note(event)
    return found


class Recorder:
    """Writes one command's record. Every method is synchronous, and over when it returns."""

    def __init__(
        self,
        box: Box,
        position: Position,
        request: ExecRequest,
        actor: Actor,
        *,
        at: int,
        limit: int = TIMELINE_LIMIT,
    ) -> None:
        self.position = position
        self.request = request
        self.actor = actor
        self.at = at
        self.offset = 0  # of combined output gathered; recorded is what ``flush`` returned
        self.gathered = Gathered()
        self._box = box
        self._limit = limit
        self._masker = masker_for(box, request.env)
        self._texts: dict[Stream, StreamText] = {name: StreamText(self._masker) for name in STREAMS}
        self._totals: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self._seen = Seen()
        self._unwritten: list[NewEvent] = []
        self._file = -1
        self._in_file = 0

    # ---- files --------------------------------------------------------------------------------

    @staticmethod
    def directory(box: Box) -> Path:
        """Where the output files and positions of a sandbox are."""
        return box.directory / "commands"

    @property
    def output_path(self) -> Path:
        """The whole output; there is no such file before there is output."""
        return self.directory(self._box) / f"{self.request.command_id}.out"

    def begin(self) -> None:
        """Makes the record that has to be there before the command is. Raises ``OSError``."""
        asked = {
            "request": _plain(self.request),
            "actor": self.actor.to_json(),
            "at": self.at,
        }
        self.position.begin(asked, self._state())
        keep_secrets(self.directory(self._box), self.request.command_id, self.request.env)

    @classmethod
    def restore(
        cls, box: Box, position: Position, seen: Mapping[str, Seen], *, limit: int = TIMELINE_LIMIT
    ) -> Recorder | None:
        """Goes on with the command of a host that was killed; None when the file is free.

        ``seen`` is what the journal has. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for
        a file that is not ours.
        """
        loaded = position.load()
        if loaded is None:
            return None
        asked, saved = loaded
        request, actor = ExecRequest(**asked["request"]), Actor.from_json(asked["actor"])
        recorder = cls(box, position, request, actor, at=asked["at"], limit=limit)
        recorder._load(saved, seen.get(request.command_id, Seen()))
        recorder._save()
        return recorder

    def _load(self, saved: Mapping[str, Any], seen: Seen) -> None:
        self.offset, self._in_file = saved["offset"], saved["file"]
        self._seen = seen
        seen.started = seen.started or saved["started"]
        seen.last |= set(saved["last"])
        for name in STREAMS:
            self._totals[name] = saved["totals"][name]
            self._texts[name] = StreamText.restore(self._masker, saved["texts"][name])
            seen.ends[name] = max(seen.ends.get(name, 0), saved["ends"].get(name, 0))
        with suppress(FileNotFoundError):
            os.truncate(self.output_path, self._in_file)

    def _state(self) -> dict[str, Any]:
        return {
            "started": self._seen.started,
            "offset": self.offset,
            "file": self._in_file,
            "totals": self._totals,
            "texts": {name: text.save() for name, text in self._texts.items()},
            "ends": self._seen.ends,
            "last": sorted(self._seen.last),
        }

    def _save(self) -> None:
        self.position.save(self._state())

    def _keep(self, data: bytes) -> None:
        """Adds to the output file; a host without space for it still runs the command."""
        data = data[: FILE_CEILING - self._in_file]
        if not data:
            return
        with suppress(OSError):
            if self._file < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                flags |= 0 if self._in_file else os.O_TRUNC
                self._file = os.open(self.output_path, flags, 0o600)
            self._in_file += os.write(self._file, data)

    def close(self) -> None:
        """Lets go of the output file; ``restore`` can go on from here."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def was_started(self) -> bool:
        """Whether the start is in the journal."""
        return self._seen.started

    @property
    def is_over(self) -> bool:
        """Whether the end is in the journal, though the position was still there."""
        return self._seen.exited

    # ---- events -------------------------------------------------------------------------------

    def _event(self, kind: Kind, data: dict[str, Any]) -> NewEvent:
        span = self.request.command_id
        return NewEvent(kind=kind, data=data, actor=self.actor, span=span)

    def started(self, pid: int) -> None:
        """Records the start, unless an earlier host did. Raises ``OSError``."""
        if self._seen.started:
            return
        request = self.request
        data = {
            "command_id": request.command_id,
            "command": self._masker.mask_text(request.command).replace("\0", "\u2400"),
            "cwd": self._masker.mask_text(request.cwd),
            "env_names": sorted(request.env),
            "timeout_seconds": request.timeout_seconds,
            "background": request.background,
            "pid": pid,
        }
        self._box.journal.append(self._event(Kind.COMMAND_STARTED, data))
        self._seen.started = True
        self._save()

    def gather(self, stream: Stream, data: bytes) -> None:
        """Takes the next bytes; nothing is written before ``flush``."""
        self.offset += len(data)
        self.gathered.add(stream, data)

    def flush(self) -> int:
        """Writes what was gathered. Returns the offset before which all is safe.

        Raises ``OSError`` when the journal has no space; calling again tries again.
        """
        runs = self.gathered.take()
        if runs:
            self._keep(b"".join(data for _, data in runs))
        for run in parted(runs):
            self._unwritten.extend(self._shown(*run))
        if self._unwritten:
            self._box.journal.append_many(self._unwritten)
            self._unwritten.clear()
        self._save()
        return self.offset

    def _shown(self, stream: Stream, data: bytes) -> Iterable[NewEvent]:
        self._totals[stream] += len(data)
        text = self._texts[stream]
        data = data[: self._limit - sum(each.end for each in self._texts.values())]
        known = self._seen.ends.get(stream, 0) - text.end
        if known > 0:  # the journal has these already; only the state they leave is wanted
            text.feed(data[:known])
            data = data[known:]
        if data:
            before, codes = text.shown, text.rendition.codes
            shown = text.feed(data)
            if shown:
                yield self._output(stream, shown, text.shown - before, codes)

    def _output(self, stream: Stream, text: str, size: int, codes: str) -> NewEvent:
        data: dict[str, Any] = {
            "command_id": self.request.command_id,
            "stream": stream,
            "text": text,
            "bytes": size,
            "offset": self.offset,
            "end": self._texts[stream].end,
        }
        if codes:
            data["sgr"] = codes
        return self._event(Kind.COMMAND_OUTPUT, data)

    @property
    def dropped(self) -> int:
        """Bytes the timeline leaves out."""
        fed = sum(text.end for text in self._texts.values())
        left = sum(self._totals.values()) - fed
        return left + sum(len(text.held) for text in self._texts.values()) if left else 0

    def _rest(self) -> Iterable[NewEvent]:
        """What was held back, or how much was left out. Never the beginning of a cut-off secret."""
        if self.dropped:
            if "dropped" not in self._seen.last:
                event = self._output("stdout", "", 0, "")
                event.data.update(dropped=self.dropped, last=True)
                self._seen.last.add("dropped")
                yield event
            return
        for stream, text in self._texts.items():
            size, codes = len(text.held), text.rendition.codes
            if size and stream not in self._seen.last:
                event = self._output(stream, text.finish(), size, codes)
                event.data["last"] = True
                yield event

    def finish(self, ended: Ended | None, *, error: str | None = None) -> None:
        """Records the end, once. ``ended`` is None when the agent was lost, ``error`` says so.

        Raises ``OSError`` when the journal has no space; calling again tries again.
        """
        if not self._seen.exited:
            self.flush()
            dropped = self.dropped
            self._unwritten.extend(self._rest())
            self._unwritten.append(self._exited(ended, dropped=dropped, error=error))
            try:
                self._box.journal.append_many(self._unwritten)
            except OSError:
                self._unwritten.pop()
                raise
            self._seen.exited = True

    def _exited(self, ended: Ended | None, *, dropped: int, error: str | None) -> NewEvent:
        data: dict[str, Any] = {
            "command_id": self.request.command_id,
            "exit_code": ended.exit_code if ended else None,
            "signal": ended.signal if ended else None,
            "duration_ms": ended.duration_ms if ended else max(0, now_us() - self.at) // 1000,
            "cpu_ms": ended.cpu_ms if ended else 0,
            "peak_memory_bytes": ended.peak_memory_bytes if ended else 0,
            "stdout_bytes": self._totals["stdout"],
            "stderr_bytes": self._totals["stderr"],
            "dropped": dropped,
            "timed_out": bool(ended and ended.timed_out),
        }
        if error:
            data["error"] = error
        return self._event(Kind.COMMAND_EXITED, data)


def _plain(request: ExecRequest) -> dict[str, Any]:
    return {
        "command_id": request.command_id,
        "command": request.command,
        "cwd": request.cwd,
        "env": dict(request.env),
        "timeout_seconds": request.timeout_seconds,
        "background": request.background,
    }
