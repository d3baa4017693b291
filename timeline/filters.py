"""What a timeline can be narrowed to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from timeline.commands import ENDED, ending_of
from timeline.events import OUTPUT_KINDS, Event, Kind
from timeline.words import Terms

SHOWS: Final[Mapping[str, tuple[str, ...]]] = {
    "commands": ("command.", "terminal.", "code."),
    "files": ("file.", "snapshot."),
    "network": ("network.",),
    "lifecycle": ("sandbox.", "limit.", "note.", "signal.", "log."),
    "failed": (),
}
"""The families of each choice; ``failed`` goes by how things ended."""

_FAILURES: Final = frozenset({Kind.SANDBOX_FAILED, Kind.LIMIT_HIT, Kind.NETWORK_DENIED})
LONGEST_TEXT: Final = 200

# The conditions of partial indexes: migration 0005 says them in the same words.
FAILED: Final = """
    kind IN ('sandbox.failed', 'limit.hit', 'network.denied')
    OR (kind = 'command.exited' AND (data -> 'exit_code' IS DISTINCT FROM '0'::jsonb
        OR data -> 'timed_out' = 'true'::jsonb))
    OR (kind = 'code.done' AND data ->> 'status' IS DISTINCT FROM 'ok')
"""
NO_OUTPUT: Final = "NOT (kind IN ('command.output', 'code.output'))"


@dataclass(frozen=True, slots=True)
class Filter:
    """``show`` is one of ``SHOWS``, ``actor`` an ``Actor.key``, ``text`` what to search for;
    each is empty for no limit."""

    show: str = ""
    actor: str = ""
    text: str = ""

    @classmethod
    def of(cls, *, show: str = "", actor: str = "", text: str = "") -> Filter:
        """From what an address says: an unknown choice is none."""
        return cls(show if show in SHOWS else "", actor[:100], text.strip()[:LONGEST_TEXT])

    @property
    def is_active(self) -> bool:
        return bool(self.show or self.actor or self.terms.parts)

    @property
    def terms(self) -> Terms:
        return Terms.of(self.text)

    @property
    def kinds(self) -> list[str]:
        """The kinds that can match; empty for all."""
        families = SHOWS.get(self.show, ())
        return [kind.value for kind in Kind if families and kind.startswith(families)]

    def match(self, event: Event) -> bool:
        """Whether an event is wanted. A command's output goes by its own actor and text; whether
        its command failed is another event's to say, so ``failed`` lets output pass."""
        if self.show == "failed":
            if event.kind not in OUTPUT_KINDS and not is_failure(event):
                return False
        elif self.show and not event.kind.startswith(SHOWS[self.show]):
            return False
        if self.actor and event.actor.key != self.actor:
            return False
        return self.terms.match(event)


def is_failure(event: Event) -> bool:
    """A command that did not exit with 0 in time, a cell that did not run through, a denial, a
    limit, a sandbox's failure."""
    if event.kind in ENDED:
        return ending_of(event.data).state != "ok"
    return event.kind in _FAILURES
