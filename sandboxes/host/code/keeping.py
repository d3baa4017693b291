"""What a next host needs of a context: who it is, its kernel, and how far it was understood.

``code/<id>.position`` is a ``Position``; ``code/<id>.0`` and ``.1`` take turns to hold the
beginning of a message whose end has not come, because a message may be larger than what the agent
keeps. The order is always: journal, that beginning, position, acknowledgement.
"""

from __future__ import annotations

import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandboxes.host.code.messages import Splitter
from sandboxes.host.positions import Position
from sandboxes.host.types import Box
from timeline.events import Kind, NewEvent

_NOWHERE: Final = {"file": 0, "size": 0}

log = logging.getLogger(__name__)


@dataclass
class Seen:
    """What a journal has of one cell."""

    begun: bool = False
    done: bool = False
    offset: int = 0


def seen_in(events: Iterable[NewEvent]) -> dict[str, Seen]:
    """What a journal has of each cell, by its id."""
    found: dict[str, Seen] = {}
    for event in events:
        if event.span is None or not event.kind.startswith("code."):
            continue
        seen = found.setdefault(event.span, Seen())
        seen.begun = seen.begun or event.kind == Kind.CODE_RUN
        seen.done = seen.done or event.kind == Kind.CODE_DONE
        seen.offset = max(seen.offset, int(event.data.get("offset", 0)))
    return found


class Keeping:
    """The files of one context. Whatever writes may raise ``OSError``; calling again helps."""

    def __init__(self, box: Box, context_id: str) -> None:
        self._base = directory(box) / context_id
        directory(box).mkdir(mode=0o700, exist_ok=True)
        self._position = Position(self._base.with_suffix(".position"))
        self._spool: dict[str, int] = dict(_NOWHERE)
        self._spooled_at = -1

    def begin(self, asked: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Another kernel or another cell."""
        self._position.begin(asked, {**state, "spool": self._spool})

    def save(self, state: Mapping[str, Any], splitter: Splitter) -> None:
        self._keep(splitter)
        self._position.save({**state, "at": splitter.at, "spool": self._spool})

    def load(self) -> tuple[dict[str, Any], dict[str, Any], Splitter] | None:
        """What was asked, the state, and what was heard in part. Raises ``ValueError``…"""
        loaded = self._position.load()
        if loaded is None:
            return None
        asked, state = loaded
        self._spool = {"file": int(state["spool"]["file"]), "size": int(state["spool"]["size"])}
        held = bytearray()
        if self._spool["size"]:
            held += self._path().read_bytes()[: self._spool["size"]]
        self._spooled_at = int(state.get("at", 0))
        return asked, state, Splitter(self._spooled_at, held)

    def _path(self) -> Path:
        return self._base.with_suffix(f".{self._spool['file']}")

    def _keep(self, splitter: Splitter) -> None:
        held = splitter.held
        if not held:
            self._spool["size"] = 0
            return
        spool, start = dict(self._spool), self._spool["size"]
        if not start or self._spooled_at != splitter.at:
            spool, start = {"file": 1 - spool["file"], "size": 0}, 0
        path = self._base.with_suffix(f".{spool['file']}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while start < len(held):
                start += os.pwrite(descriptor, held[start:], start)
        finally:
            os.close(descriptor)
        self._spool, self._spooled_at = {**spool, "size": len(held)}, splitter.at

    def close(self) -> None:
        """Lets go and leaves what they say."""
        self._position.close()

    def remove(self) -> None:
        """There is no such context any more."""
        self._position.close()
        for suffix in (".position", ".0", ".1"):
            self._base.with_suffix(suffix).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Carried:
    """A context as a copy of its sandbox goes on with it: that its kernel does not know.

    ``held``, in base64, is the beginning of a message whose end has not come.
    """

    context_id: str
    asked: Mapping[str, Any]
    state: Mapping[str, Any]
    held: str

    @property
    def kernel(self) -> str:
        """The agent's name for its kernel; empty without one."""
        return str(self.state["kernel"])

    def plant(self, box: Box) -> None:
        """Leave it to a sandbox as an earlier host would have. Raises ``OSError``."""
        keeping = Keeping(box, self.context_id)
        keeping.begin(self.asked, self.state)
        keeping.save(self.state, Splitter(int(self.state["at"]), bytearray(b64decode(self.held))))
        keeping.close()


def carried(box: Box) -> list[Carried]:
    """The contexts of a sandbox that stands still. A cell that runs is nobody's in a copy."""
    found = []
    for name in kept(box):
        keeping = Keeping(box, name)
        try:
            loaded = keeping.load()
        except (OSError, ValueError, KeyError, TypeError):
            log.exception("Context %s of %s is in no copy", name, box.sandbox_id)
            continue
        finally:
            keeping.close()
        if loaded is not None:
            asked, state, splitter = loaded
            own = {key: asked[key] for key in ("cwd", "created_at")}
            state = {**state, "at": splitter.at, "spool": _NOWHERE, "cell": None}
            found.append(Carried(name, own, state, b64encode(splitter.held).decode()))
    return found


def directory(box: Box) -> Path:
    """Where the contexts of a sandbox are kept."""
    return box.directory / "code"


def kept(box: Box) -> list[str]:
    """Ids of the contexts that an earlier host left."""
    return sorted(path.stem for path in directory(box).glob("*.position"))
