"""One terminal's record: its recording, its events, and where both have got to.

The order is that of commands (``sandboxes.host.recorder``): recording, journal, position, and only
then the acknowledgement to the agent. After a restart ``Seen`` says what the journal has beyond the
position, and those bytes, which the agent sends again, are recorded without a second event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sandboxes.host.agent.frames import Ended
from sandboxes.host.masking import masker_for
from sandboxes.host.output import StreamText
from sandboxes.host.positions import Position
from sandboxes.host.terminals.recording import Recording, Recordings
from sandboxes.host.terminals.types import Size, TerminalInfo, TerminalRequest
from sandboxes.host.types import Box
from timeline.events import Actor, Kind, NewEvent, now_us

#: Bytes of output that the timeline shows after each line that a person types, and of all.
SHOWN_A_LINE: Final = 256 * 1024
SHOWN_IN_ALL: Final = 8 * 1024 * 1024
#: Bytes that are typed before they become an event though no line has ended.
TYPED: Final = 256
_LINE_ENDS: Final = frozenset(b"\r\n\x03\x04\x1a")


@dataclass
class Seen:
    """What a journal already has of one terminal."""

    opened: bool = False
    closed: bool = False
    end: int = 0
    typed: int = 0

    def note(self, event: NewEvent) -> None:
        self.opened = self.opened or event.kind == Kind.TERMINAL_OPENED
        self.closed = self.closed or event.kind == Kind.TERMINAL_CLOSED
        if event.kind == Kind.TERMINAL_OUTPUT:
            self.end = event.data["end"]
        elif event.kind == Kind.TERMINAL_INPUT:
            self.typed = event.data["end"]


def seen_in(events: Iterable[NewEvent]) -> dict[str, Seen]:
    """What a journal has of each terminal, by its id."""
    found: dict[str, Seen] = {}
    for event in events:
        if event.span is not None and event.kind.startswith("terminal."):
            found.setdefault(event.span, Seen()).note(event)
    return found


@dataclass
class Typed:
    """What somebody has typed since their last event. ``end`` counts all bytes ever typed."""

    actor: Actor
    data: bytes = b""
    hidden: bool = False
    end: int = 0


class Recorder:
    """Writes one terminal's record. Every method is synchronous, and over when it returns.

    ``masked`` is called with the bytes that watchers who may not drive are shown.
    """

    def __init__(
        self,
        box: Box,
        position: Position,
        recordings: Recordings,
        request: TerminalRequest,
        actor: Actor,
        *,
        at: int,
        recorded: int = 0,
    ) -> None:
        self.position = position
        self.request = request
        self.actor = actor
        self.at = at
        self.offset = 0  # of output gathered; recorded is what ``flush`` returned
        self.size = request.size
        self.driver: dict[str, Any] = {}
        self.modes = b""
        path = recordings.path(request.terminal_id)
        self.recording = Recording(path, started_at=at, size=recorded)
        self._recordings = recordings
        self._box = box
        self._masker = masker_for(box)
        self._text = StreamText(self._masker)
        self._gathered = bytearray()
        self._full_screen = False
        self._typed = Typed(actor)
        self._allowed = SHOWN_A_LINE
        self._shown = 0
        self._dropped = 0
        self._seen = Seen()
        self._unwritten: list[NewEvent] = []
        self._lines: list[bytes] = []
        self._masked: list[bytes] = []

    # ---- the record on disk -------------------------------------------------------------------

    def begin(self) -> None:
        """Makes the record that has to be there before the terminal is. Raises ``OSError``."""
        size, env = self.size, self._box.env
        names = {name: env[name] for name in ("SHELL", "TERM") if name in env}
        self.recording.begin(columns=size.columns, rows=size.rows, env=names)
        self._recordings.note(self.info())
        asked = {"request": self.request.to_json(), "actor": self.actor.to_json(), "at": self.at}
        self.position.begin(asked, self._state())

    @classmethod
    def restore(
        cls, box: Box, position: Position, recordings: Recordings, seen: Mapping[str, Seen]
    ) -> Recorder | None:
        """Goes on with the terminal of a host that was killed; None when the file is free.

        Raises ``ValueError``, ``KeyError`` or ``TypeError`` for a file that is not ours.
        """
        loaded = position.load()
        if loaded is None:
            return None
        asked, saved = loaded
        request = TerminalRequest.from_json(asked["request"])
        actor, at = Actor.from_json(asked["actor"]), int(asked["at"])
        recorder = cls(box, position, recordings, request, actor, at=at, recorded=saved["recorded"])
        recorder._load(saved, seen.get(request.terminal_id, Seen()))
        return recorder

    def _load(self, saved: Mapping[str, Any], seen: Seen) -> None:
        self.offset, self._shown = saved["offset"], saved["shown"]
        self._allowed, self._dropped = saved["allowed"], saved["dropped"]
        self.size, self.driver = Size(**saved["size"]), saved["driver"]
        self.modes = saved["modes"].encode("latin-1")
        self._text = StreamText.restore(self._masker, saved["text"])
        typed = saved["typed"]
        data = typed["data"].encode("latin-1")
        self._typed = Typed(Actor.from_json(typed["actor"]), data, typed["hidden"], typed["end"])
        if seen.typed > typed["end"] - len(data):  # what was typed then is an event by now
            self._typed.data, self._typed.end = b"", max(typed["end"], seen.typed)
        self._seen = replace(seen, opened=seen.opened or saved["opened"])
        self.recording.take_up()

    def _state(self) -> dict[str, Any]:
        typed = self._typed
        return {
            "opened": self._seen.opened,
            "offset": self.offset,
            "recorded": self.recording.size,
            "text": self._text.save(),
            "shown": self._shown,
            "allowed": self._allowed,
            "dropped": self._dropped,
            "size": {"rows": self.size.rows, "columns": self.size.columns},
            "driver": self.driver,
            "modes": self.modes.decode("latin-1"),
            "typed": {
                "actor": typed.actor.to_json(),
                "data": typed.data.decode("latin-1"),
                "hidden": typed.hidden,
                "end": typed.end,
            },
        }

    def close(self) -> None:
        """Lets go of the recording; ``restore`` can go on from here."""
        self.recording.close()

    @property
    def was_opened(self) -> bool:
        """Whether its beginning is in the journal."""
        return self._seen.opened

    @property
    def is_over(self) -> bool:
        """Whether its end is in the journal, though the position was still there."""
        return self._seen.closed

    @property
    def waiting(self) -> int:
        """Bytes of output that were gathered and are not recorded."""
        return len(self._gathered)

    @property
    def is_typing(self) -> bool:
        """Whether something was typed that is no event yet."""
        return bool(self._typed.data)

    def info(self) -> TerminalInfo:
        """What a list says about it while it is open."""
        return TerminalInfo(
            id=self.request.terminal_id,
            opened_at=self.at,
            opened_by=self.actor.to_json(),
            size=self.size,
            recorded=self.recording.size,
            cut_off=self.recording.cut_off,
        )

    # ---- what happens -------------------------------------------------------------------------

    def _event(self, kind: Kind, data: dict[str, Any], actor: Actor | None = None) -> NewEvent:
        data = {"terminal_id": self.request.terminal_id, **data}
        return NewEvent(kind, data, actor=actor or self.actor, span=self.request.terminal_id)

    def opened(self, pid: int, driver: str) -> None:
        """Records the beginning, unless an earlier host did. Raises ``OSError``."""
        if self._seen.opened:
            return
        data = {
            "cwd": self.request.cwd,
            "rows": self.size.rows,
            "columns": self.size.columns,
            "pid": pid,
            "driver": driver,
        }
        self._box.journal.append(self._event(Kind.TERMINAL_OPENED, data))
        self._seen.opened = True
        self.position.save(self._state())

    def gather(self, data: bytes, *, full_screen: bool = False) -> None:
        """Takes the next output; nothing is written before ``flush``.

        ``full_screen`` says that it is what such a program draws, which makes no lines to read.
        """
        self.offset += len(data)
        self._full_screen = self._full_screen or full_screen
        self._gathered += data

    def type(self, actor: Actor, data: bytes, *, hidden: bool) -> None:
        """Takes what somebody has typed. Passwords are counted, never kept."""
        typed = self._typed
        if typed.data and (typed.actor != actor or typed.hidden != hidden):
            self._type_out()
        for start in range(0, len(data), TYPED):
            part = data[start : start + TYPED]
            typed.actor, typed.hidden = actor, hidden
            typed.data += b"*" * len(part) if hidden else part
            typed.end += len(part)
            if len(typed.data) >= TYPED or not _LINE_ENDS.isdisjoint(part):
                self._type_out()

    def _type_out(self) -> None:
        typed = self._typed
        if not typed.data:
            return
        self._show()
        self._allowed = max(self._allowed, SHOWN_A_LINE)
        data: dict[str, Any] = {"bytes": len(typed.data), "end": typed.end}
        if typed.hidden:
            data["hidden"] = True
        else:
            data["text"] = self._masker.mask_text(
                typed.data.decode("utf-8", "replace").replace("\0", "\u2400")
            )
            self._lines.append(self.recording.line(now_us(), "i", data["text"]))
        self._unwritten.append(self._event(Kind.TERMINAL_INPUT, data, typed.actor))
        typed.data = b""

    def resize(self, size: Size, actor: Actor) -> None:
        """The screen has another size from here on."""
        self._show()
        self.size = size
        text = f"{size.columns}x{size.rows}"
        self._lines.append(self.recording.line(now_us(), "r", text))
        data = {"rows": size.rows, "columns": size.columns}
        self._unwritten.append(self._event(Kind.TERMINAL_RESIZED, data, actor))

    def take_over(self, actor: Actor, *, before: str, watchers: list[str]) -> None:
        """Another one drives from here on."""
        self._type_out()
        self._show()
        self._lines.append(self.recording.line(now_us(), "m", f"{actor.name} drives"))
        data = {"driver": actor.name, "before": before, "watchers": watchers}
        self._unwritten.append(self._event(Kind.TERMINAL_TAKEN, data, actor))

    def flush(self) -> int:
        """Writes what was gathered. Returns the offset before which all is safe.

        Raises ``OSError`` when there is no space; calling again tries again.
        """
        self._show()
        if self._lines:
            self.recording.add(self._lines)
            self._lines.clear()
        if self._unwritten:
            self._box.journal.append_many(self._unwritten)
            self._unwritten.clear()
        self.position.save(self._state())
        return self.offset

    def pause_typing(self) -> None:
        """Nobody has typed for a while: what there is becomes an event with the next ``flush``."""
        self._type_out()

    def masked(self) -> bytes:
        """What was shown since the last call, without the secrets in it."""
        shown, self._masked = b"".join(self._masked), []
        return shown

    def _show(self) -> None:
        """Makes gathered output an event, as far as the timeline is to have it."""
        data = bytes(self._gathered)
        self._gathered.clear()
        known = self._seen.end - self._text.end
        for part, is_new in ((data[: max(0, known)], False), (data[max(0, known) :], True)):
            before, codes = self._text.shown, self._text.rendition.codes
            text = self._text.feed(part) if part else ""
            if text:
                self._put(text, self._text.shown - before, codes, is_new=is_new)
        self._full_screen = False

    def _put(self, text: str, size: int, codes: str, *, is_new: bool) -> None:
        self._masked.append(text.encode("utf-8", "replace"))
        self._lines.append(self.recording.line(now_us(), "o", text))
        if not is_new:
            return
        if self._allowed < size or self._shown + size > SHOWN_IN_ALL:
            self._allowed = 0
            self._dropped += size
            return
        data: dict[str, Any] = {"text": text, "bytes": size, "end": self._text.end}
        if codes:
            data["sgr"] = codes
        if self._full_screen:
            data["full_screen"] = True
        if self._dropped:
            data["dropped"], self._dropped = self._dropped, 0
        self._allowed -= size
        self._shown += size
        self._unwritten.append(self._event(Kind.TERMINAL_OUTPUT, data))

    def finish(self, ended: Ended | None, *, error: str | None, watchers: list[str]) -> None:
        """Records the end, once. ``ended`` is None when the agent was lost, ``error`` says so.

        Raises ``OSError`` when there is no space; calling again tries again.
        """
        if self._seen.closed:
            return
        self._type_out()
        self.flush()
        if rest := self._text.finish():
            self._put(rest, len(rest.encode("utf-8", "replace")), "", is_new=True)
        closed = self._closed(ended, error=error, watchers=watchers)
        self._recordings.note(
            replace(
                self.info(),
                status="closed",
                closed_at=closed.at,
                exit_code=closed.data["exit_code"],
                signal=closed.data["signal"],
            )
        )
        self._unwritten.append(closed)
        try:
            self.flush()
        except OSError:
            if closed in self._unwritten:
                self._unwritten.remove(closed)
            raise
        self._seen.closed = True

    def _closed(self, ended: Ended | None, *, error: str | None, watchers: list[str]) -> NewEvent:
        data: dict[str, Any] = {
            "exit_code": ended.exit_code if ended else None,
            "signal": ended.signal if ended else None,
            "duration_ms": ended.duration_ms if ended else max(0, now_us() - self.at) // 1000,
            "output_bytes": self.offset,
            "input_bytes": self._typed.end,
            "dropped": self._dropped,
            "recorded_bytes": self.recording.size,
            "cut_off": self.recording.cut_off,
            "watchers": watchers,
        }
        if error:
            data["error"] = error
        return self._event(Kind.TERMINAL_CLOSED, data)
