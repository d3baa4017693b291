"""What operators write on a run's timeline and pin of it.

The log is append-only: each change is an event of its own, told by the person who made it, and
``timeline.models.Mark`` has how things stand. Notes that were removed can be restored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.policy import Forbidden, Principal, Scope, require
from sandboxes.errors import InvalidRequest, Missing
from sandboxes.models import Sandbox
from sandboxes.selectors import sandbox_for
from timeline.events import Actor, Event, Kind, NewEvent
from timeline.models import Mark
from timeline.selectors import events_at
from timeline.services import event_append
from timeline.summary import summary

MOST_TEXT: Final = 4000
MOST_MARKS: Final = 500
_OWNER: Final = "owner"


class NoteNotFound(Missing):
    """No such note or event on this timeline."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"There is no note or event #{seq} on this timeline.")


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it stands. ``edited_at`` is None for one that is as it was written first."""

    seq: int
    text: str
    actor: Actor
    at: datetime
    about: int | None
    about_text: str
    edited_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned event, in a few words, and who pinned it."""

    seq: int
    kind: str
    text: str
    actor: Actor
    at: datetime


@dataclass(frozen=True, slots=True)
class Notes:
    """All of a run's: notes with the newest first, pins in the order of their events."""

    notes: list[Note]
    pins: list[Pin]

    @property
    def pinned(self) -> list[int]:
        return [pin.seq for pin in self.pins]


def notes_of(*, sandbox_id: str) -> Notes:
    """In two queries. Who asks must have found the sandbox as theirs."""
    marks = list(Mark.objects.filter(sandbox_id=sandbox_id, removed_at=None).order_by("seq"))
    told = _texts(sandbox_id, marks)
    pins = [
        Pin(mark.seq, told[mark.seq][0], told[mark.seq][1], Actor.from_json(mark.actor), mark.at)
        for mark in marks
        if mark.what == Mark.What.PIN and mark.seq in told
    ]
    notes = [_note(mark, told) for mark in marks if mark.what == Mark.What.NOTE]
    return Notes(notes[::-1], pins)


def _texts(sandbox_id: str, marks: Sequence[Mark]) -> dict[int, tuple[str, str]]:
    seqs = {mark.seq for mark in marks if mark.what == Mark.What.PIN}
    seqs |= {mark.about for mark in marks if mark.about is not None}
    events = events_at(sandbox_id=sandbox_id, seqs=sorted(seqs))
    return {seq: (event.kind, summary(event)) for seq, event in events.items()}


def _note(mark: Mark, told: dict[int, tuple[str, str]]) -> Note:
    about = told.get(mark.about, ("", ""))[1] if mark.about is not None else ""
    return Note(
        seq=mark.seq,
        text=mark.text,
        actor=Actor.from_json(mark.actor),
        at=mark.at,
        about=mark.about,
        about_text=about,
        edited_at=mark.edited_at,
    )


@transaction.atomic
def note_add(
    *, principal: Principal, sandbox_id: str, text: str, about: int | None = None
) -> Event:
    """A note on the run, or on one of its events. Raises ``SandboxError`` and ``Forbidden``."""
    sandbox = _writable(principal, sandbox_id)
    text = checked_text(text)
    _room(sandbox)
    if about is not None:
        _existing(sandbox, about)
    return note_write(sandbox=sandbox, actor=principal.actor, text=text, about=about)


def note_write(
    *, sandbox: Sandbox, actor: Actor, text: str, about: int | None = None, hold: str = ""
) -> Event:
    """Append a note that was checked, in the caller's transaction; ``hold`` says which turn of a
    hold it tells of: ``held`` or ``released``."""
    data: dict[str, Any] = {"text": text}
    if about is not None:
        data["about"] = about
    if hold:
        data["hold"] = hold
    event = event_append(sandbox_id=sandbox.id, event=NewEvent(Kind.NOTE_ADDED, data, actor))
    Mark.objects.create(
        sandbox_id=sandbox.id,
        what=Mark.What.NOTE,
        seq=event.seq,
        about=about,
        text=text,
        actor=actor.to_json(),
        at=timezone.now(),
    )
    return event


@transaction.atomic
def note_edit(*, principal: Principal, sandbox_id: str, seq: int, text: str) -> None:
    """Say it differently; only who wrote it may. The timeline keeps both."""
    sandbox = _writable(principal, sandbox_id)
    mark = _own(principal, sandbox, seq)
    text = checked_text(text)
    if text == mark.text:
        return
    mark.text, mark.edited_at = text, timezone.now()
    mark.save(update_fields=["text", "edited_at"])
    _tell(sandbox, principal, Kind.NOTE_EDITED, {"note": seq, "text": text})


@transaction.atomic
def note_remove(*, principal: Principal, sandbox_id: str, seq: int) -> None:
    """Take it out of the list. Who wrote it may, and an owner; see ``note_restore``."""
    sandbox = _writable(principal, sandbox_id)
    mark = _own(principal, sandbox, seq, owners=True)
    mark.removed_at = timezone.now()
    mark.save(update_fields=["removed_at"])
    _tell(sandbox, principal, Kind.NOTE_REMOVED, {"note": seq})


@transaction.atomic
def note_restore(*, principal: Principal, sandbox_id: str, seq: int) -> None:
    """Undo ``note_remove``."""
    sandbox = _writable(principal, sandbox_id)
    mark = _own(principal, sandbox, seq, owners=True, removed=True)
    _room(sandbox)
    mark.removed_at = None
    mark.save(update_fields=["removed_at"])
    _tell(sandbox, principal, Kind.NOTE_RESTORED, {"note": seq, "text": mark.text})


@transaction.atomic
def event_pin(*, principal: Principal, sandbox_id: str, seq: int) -> None:
    """Keep an event at hand, and beyond the retention of its timeline. Twice is once."""
    sandbox = _writable(principal, sandbox_id)
    event = _existing(sandbox, seq)
    _room(sandbox)
    actor = principal.actor
    _, made = Mark.objects.get_or_create(
        sandbox_id=sandbox.id,
        what=Mark.What.PIN,
        seq=seq,
        defaults={"actor": actor.to_json(), "at": timezone.now()},
    )
    if made:
        _tell(sandbox, principal, Kind.NOTE_PINNED, {"event": seq, "text": summary(event)})


@transaction.atomic
def event_unpin(*, principal: Principal, sandbox_id: str, seq: int) -> None:
    """Let go of it; one that is not pinned stays so."""
    sandbox = _writable(principal, sandbox_id)
    mine = Mark.objects.filter(sandbox_id=sandbox.id, what=Mark.What.PIN, seq=seq)
    if mine.delete()[0]:
        _tell(sandbox, principal, Kind.NOTE_UNPINNED, {"event": seq})


def may_change(principal: Principal, actor: Actor, *, owners: bool = False) -> bool:
    """Whether a note of ``actor`` is the principal's own, or theirs as an owner."""
    own = (actor.type, actor.id) == (principal.actor.type, principal.actor.id)
    return own or (owners and principal.role == _OWNER)


def checked_text(text: str, *, required: bool = True) -> str:
    """The text without blank ends. Raises ``InvalidRequest`` when it is too long or missing."""
    text = text.replace("\r\n", "\n").replace("\x00", "").strip()
    if required and not text:
        raise InvalidRequest("Write something; the note is empty.")
    if len(text) > MOST_TEXT:
        raise InvalidRequest(f"A note takes {MOST_TEXT:,} characters; this one has {len(text):,}.")
    return text


def _writable(principal: Principal, sandbox_id: str) -> Sandbox:
    require(principal, Scope.SANDBOXES_WRITE)
    return sandbox_for(principal=principal, sandbox_id=sandbox_id)


def _room(sandbox: Sandbox) -> None:
    if Mark.objects.filter(sandbox_id=sandbox.id, removed_at=None).count() >= MOST_MARKS:
        raise InvalidRequest(f"A run holds {MOST_MARKS} notes and pins; remove some first.")


def _existing(sandbox: Sandbox, seq: int) -> Event:
    event = events_at(sandbox_id=sandbox.id, seqs=[seq]).get(seq)
    if event is None:
        raise NoteNotFound(seq)
    return event


def _own(
    principal: Principal, sandbox: Sandbox, seq: int, *, owners: bool = False, removed: bool = False
) -> Mark:
    rows = Mark.objects.select_for_update().filter(sandbox_id=sandbox.id, what=Mark.What.NOTE)
    mark = rows.filter(seq=seq, removed_at__isnull=not removed).first()
    if mark is None:
        raise NoteNotFound(seq)
    if not may_change(principal, Actor.from_json(mark.actor), owners=owners):
        who = "whoever wrote it or an owner" if owners else "whoever wrote it"
        raise Forbidden(f"Only {who} can change this note.")
    return mark


def _tell(sandbox: Sandbox, principal: Principal, kind: Kind, data: dict[str, Any]) -> None:
    event_append(sandbox_id=sandbox.id, event=NewEvent(kind, data, principal.actor))
