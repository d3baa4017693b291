"""What the timeline keeps of one cell: masked, bounded, and once, whatever dies meanwhile.

Every event says how far into the kernel's words it reaches (``offset``). A host that comes after
a killed one hears again what was not saved, and by that leaves out what the journal has.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sandboxes.host.code.messages import CodeError, Result
from sandboxes.host.code.types import CodeRequest
from sandboxes.host.masking import masker_for
from sandboxes.host.output import STREAMS, TIMELINE_LIMIT, StreamText
from sandboxes.host.types import Box, Stream
from timeline.events import Actor, Kind, NewEvent, now_us

#: Bytes of a cell's code, of one text of a result, and of one image (as base64), that are shown.
CODE_SHOWN: Final = 64 * 1024
TEXT_SHOWN: Final = 64 * 1024
IMAGE_SHOWN: Final = 256 * 1024
#: Bytes of all results of a cell that are shown.
RESULTS_SHOWN: Final = 1024 * 1024


class Record:
    """One cell's events, in the order in which they are to be written."""

    def __init__(self, box: Box, request: CodeRequest, actor: Actor) -> None:
        self.request = request
        self.actor = actor
        self.pending: list[NewEvent] = []
        self.gathered = 0
        self.seen = 0  # how far the journal reached when this host began
        self._masker = masker_for(box)
        self._texts: dict[Stream, StreamText] = {name: StreamText(self._masker) for name in STREAMS}
        self._dropped = 0
        self._shown = 0

    # ---- for the position ---------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """JSON for ``load``; what is pending must have been written."""
        return {
            "texts": {name: text.save() for name, text in self._texts.items()},
            "dropped": self._dropped,
            "shown": self._shown,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        self._dropped, self._shown = saved["dropped"], saved["shown"]
        for name in STREAMS:
            self._texts[name] = StreamText.restore(self._masker, saved["texts"][name])

    # ---- events -------------------------------------------------------------------------------

    def begun(self) -> NewEvent:
        request = self.request
        data = {
            "context_id": request.context_id,
            "language": "python",
            "code": self._text(request.code, CODE_SHOWN),
            "code_bytes": len(request.code.encode("utf-8", "replace")),
            "timeout_seconds": request.timeout_seconds,
        }
        return self._event(Kind.CODE_RUN, data)

    def printed(self, stream: Stream, text: str, *, offset: int) -> None:
        """Gathers; several of one stream become one event."""
        data = text.encode("utf-8", "replace")
        room = TIMELINE_LIMIT - sum(each.end for each in self._texts.values())
        self._dropped += max(0, len(data) - room)
        if not data[:room]:
            return
        state = self._texts[stream]
        codes = state.rendition.codes
        shown = state.feed(data[:room])
        self.gathered += len(shown)
        if shown and offset > self.seen:
            self._join(stream, shown, offset, codes)

    def _join(self, stream: Stream, shown: str, offset: int, codes: str) -> None:
        last = self.pending[-1] if self.pending else None
        if last is not None and last.kind == Kind.CODE_OUTPUT and last.data["stream"] == stream:
            last.data["text"] += shown
            last.data["bytes"] += len(shown.encode())
            last.data["offset"] = offset
            return
        size = len(shown.encode())
        data: dict[str, Any] = {"stream": stream, "text": shown, "bytes": size, "offset": offset}
        if codes:
            data["sgr"] = codes
        self.pending.append(self._event(Kind.CODE_OUTPUT, data))

    def result(self, result: Result, *, offset: int) -> None:
        """What is too large to show is named in ``left_out``."""
        self._flush_held(offset)
        data: dict[str, Any] = {"type": result.type, "final": result.final, "offset": offset}
        left_out = []
        for name, text, size in _parts(result):
            shown = text if name == "png" else self._text(text, TEXT_SHOWN)
            limit = IMAGE_SHOWN if name == "png" else TEXT_SHOWN
            if size > limit or self._shown + len(shown) > RESULTS_SHOWN:
                left_out.append({"part": name, "bytes": size})
            if self._shown + len(shown) <= RESULTS_SHOWN and (name != "png" or size <= limit):
                self._shown += len(shown)
                data[name] = shown
        if left_out:
            data["left_out"] = left_out
        if offset > self.seen:
            self.pending.append(self._event(Kind.CODE_RESULT, data))

    def raised(self, error: CodeError, *, offset: int) -> None:
        self._flush_held(offset)
        if offset > self.seen:
            data = {**self._error(error), "offset": offset}
            self.pending.append(self._event(Kind.CODE_ERROR, data))

    def done(self, told: Mapping[str, Any], *, offset: int) -> None:
        self._flush_held(offset)
        data = {**told, "dropped": self._dropped, "offset": offset}
        self.pending.append(self._event(Kind.CODE_DONE, data))

    def _flush_held(self, offset: int) -> None:
        """What was held back as the possible beginning of a secret, before something else comes."""
        for stream, text in self._texts.items():
            codes = text.rendition.codes
            rest = text.finish()
            if rest and offset > self.seen:
                self._join(stream, rest, offset, codes)

    def _error(self, error: CodeError) -> dict[str, Any]:
        return {
            "name": self._text(error.name, 200),
            "value": self._text(error.value, 4096),
            "traceback": self._text("\n".join(error.traceback), TEXT_SHOWN),
        }

    def _text(self, text: str, limit: int) -> str:
        masked = self._masker.mask_text(text).replace("\0", "\u2400")
        return masked if len(masked) <= limit else masked[:limit] + "…"

    def _event(self, kind: Kind, data: dict[str, Any]) -> NewEvent:
        row = {"cell_id": self.request.cell_id, **data}
        return NewEvent(kind=kind, data=row, actor=self.actor, span=self.request.cell_id)


def _parts(result: Result) -> list[tuple[str, str, int]]:
    """Its representations as text, with the bytes that each really has."""
    found = []
    if result.png is not None:
        found.append(("png", result.png, len(base64.b64decode(result.png))))
    for name, text in (("text", result.text), ("html", result.html)):
        if text is not None:
            found.append((name, text, len(text.encode("utf-8", "replace"))))
    if result.json is not None:
        plain = orjson.dumps(result.json).decode()
        found.append(("json", plain, len(plain)))
    return found


def context_event(
    context_id: str, what: str, *, actor: Actor, cwd: str = "", detail: str = ""
) -> NewEvent:
    """A context was created, restarted or removed, or its kernel died."""
    data = {"context_id": context_id, "what": what}
    data |= {"cwd": cwd} if cwd else {}
    data |= {"detail": detail} if detail else {}
    return NewEvent(Kind.CODE_CONTEXT, data, actor=actor, at=now_us())
