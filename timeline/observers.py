"""Lets the domain follow lifecycle events without this package knowing the domain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import orjson

from timeline.events import Actor, Event
from timeline.log import Batch
from timeline.store import Stored

Observer = Callable[[Sequence[Event]], None]

log = logging.getLogger(__name__)

_MARK = b'"kind":"sandbox.'


class Observers:
    """Calls each observer with stored ``sandbox.*`` events, in order, at least once.

    After a crash an observer may hear of an event again, so it must be idempotent. Its errors
    are logged and never stop the tail.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        *,
        recall: Callable[[str], Sequence[Event]] = lambda _: (),
    ) -> None:
        self._observers = observers
        self._recall = recall

    def notify(self, batches: Sequence[Batch], results: Sequence[Stored]) -> None:
        """Tell of what was just stored; of lifecycle stored before, what ``recall`` finds."""
        if not self._observers:
            return
        known: set[str] = set()
        for batch, result in zip(batches, results, strict=True):
            if _MARK not in batch.lines:
                continue
            if result.lines:
                self._call(_lifecycle(result))
            elif not result.gap:
                known.add(result.sandbox_id)
        for sandbox_id in known:
            self._call(self._remember(sandbox_id))

    def _remember(self, sandbox_id: str) -> Sequence[Event]:
        try:
            return self._recall(sandbox_id)
        except Exception:
            log.exception("The lifecycle of %s cannot be read", sandbox_id)
            return ()

    def _call(self, events: Sequence[Event]) -> None:
        if not events:
            return
        for observer in self._observers:
            try:
                observer(events)
            except Exception:
                log.exception("An observer of the timeline failed")


def _lifecycle(result: Stored) -> list[Event]:
    return [
        _event(result.sandbox_id, seq, line)
        for seq, line in enumerate(result.lines, result.first)
        if _MARK in line
    ]


def _event(sandbox_id: str, seq: int, line: bytes) -> Event:
    data = orjson.loads(line)
    actor = Actor.from_json(data["actor"])
    return Event(sandbox_id, seq, data["at"], data["kind"], actor, data["span"], data["data"])
