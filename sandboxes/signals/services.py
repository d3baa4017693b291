"""Reads what is new in all runs that go on, raises what the rules find and resolves what is over.

A round takes a handful of queries however many runs there are, reads each event once, and reads of
output only the end of what each command said last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.policy import Principal, Scope, require
from sandboxes.errors import Missing
from sandboxes.following import Follower
from sandboxes.models import Sandbox, Status
from sandboxes.selectors import sandbox_for
from sandboxes.signals.models import Progress, Signal
from sandboxes.signals.rules import Finding, Run, Told
from sandboxes.usage.history import cores_lately
from timeline.events import Actor, Kind, NewEvent
from timeline.services import event_append

BATCH: Final = 200
_STEP: Final = 5000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_POLICY: Final = Actor("policy")
#: Cores that a run keeps busy when it computes rather than waits, and when to ask again.
_WORKS: Final = 0.05
_NEXT_SAMPLE: Final = timedelta(seconds=10)

_RUNS: Final = Follower(
    table="signals_progress",
    fresh={"state": "'{}'"},
    columns=("t.state", "s.started_at"),
    others="(t.next_look <= %(now)s AND s.status = 'running')",
)
_NOTE: Final = """
    UPDATE signals_progress p
    SET seq = n.seq, state = n.state::jsonb, next_look = n.next_look, done = n.done
    FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::timestamptz[], %s::boolean[])
        AS n(id, seq, state, next_look, done)
    WHERE p.sandbox_id = n.id
"""
_EVENTS: Final = """
    SELECT e.sandbox_id, e.seq, e.at, e.kind, e.span,
        CASE WHEN e.kind IN ('command.started', 'code.run') THEN jsonb_build_object(
                'command', left(e.data->>'command', 4000), 'code', left(e.data->>'code', 4000),
                'cwd', e.data->>'cwd')
            WHEN e.kind = 'file.written' THEN jsonb_build_object('path', e.data->>'path', 'diff',
                CASE WHEN length(e.data->>'diff') <= 20000 THEN e.data->>'diff' END)
            ELSE e.data - 'text' END
    FROM unnest(%(ids)s::text[], %(after)s::bigint[], %(upto)s::bigint[]) AS w(id, after, upto)
    JOIN timeline_event e ON e.sandbox_id = w.id AND e.seq > w.after AND e.seq <= w.upto
    WHERE e.kind IN ('command.started', 'command.exited', 'code.run', 'code.done',
        'file.written', 'network.allowed', 'network.denied')
"""
_OUTPUT: Final = """
    SELECT DISTINCT ON (e.sandbox_id, e.span) e.sandbox_id, e.seq, e.at, e.kind, e.span,
        jsonb_build_object('tail', right(e.data->>'text', 200))
    FROM unnest(%(ids)s::text[], %(after)s::bigint[], %(upto)s::bigint[]) AS w(id, after, upto)
    JOIN timeline_event e ON e.sandbox_id = w.id AND e.seq > w.after AND e.seq <= w.upto
    WHERE e.kind IN ('command.output', 'code.output') AND e.span IS NOT NULL
    ORDER BY e.sandbox_id, e.span, e.seq DESC
"""


class SignalNotFound(Missing):
    """No such signal of this run."""

    def __init__(self) -> None:
        super().__init__("There is no such signal of this run.")


def signals_look() -> int:
    """One round over every run with news; returns how many were looked at."""
    _RUNS.begin()
    looked = 0
    while count := _look_batch():
        looked += count
        if count < BATCH or looked >= 50 * BATCH:
            break
    return looked


@transaction.atomic
def _look_batch() -> int:
    now = timezone.now()
    due = [_Due(*row) for row in _RUNS.due(limit=BATCH, now=now)]
    if not due:
        return 0
    heard = _read(due)
    standing = _standing([one.sandbox_id for one in due])
    for one in due:
        one.hear(heard.get(one.sandbox_id, ()))
    working = _working([one.sandbox_id for one in due if one.run.asks])
    rows, raised = [], []
    for one in due:
        works = one.sandbox_id in working
        rows.append(one.progress(now, works=works))
        findings = [] if one.over else one.findings(now, works=works)
        raised += _settle(one, findings, standing.get(one.sandbox_id, {}), now)
    _note(rows)
    for signal in raised:
        _tell_raised(signal)
    return len(due)


def _note(rows: Sequence[Progress]) -> None:
    values: list[Any] = [
        [row.sandbox_id for row in rows],
        [row.seq for row in rows],
        [orjson.dumps(row.state).decode() for row in rows],
        [row.next_look for row in rows],
        [row.done for row in rows],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, values)


@dataclass(slots=True)
class _Due:
    """A run to look at, and how far this round takes it."""

    sandbox_id: str
    seq: int
    head: int
    status: str
    account_id: str
    state: Any
    started_at: datetime | None
    run: Run = field(init=False)
    passing: dict[str, Finding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run = Run.from_json(self.state if isinstance(self.state, dict) else _json(self.state))

    @property
    def upto(self) -> int:
        return min(self.head, self.seq + _STEP)

    @property
    def over(self) -> bool:
        return self.status in (Status.TERMINATED, Status.FAILED) and self.upto == self.head

    @property
    def since(self) -> int:
        return (self.started_at - _EPOCH) // _MICROSECOND if self.started_at else 0

    def hear(self, events: Sequence[Told]) -> None:
        """What holds after one event and no longer at the round's end is kept in ``passing``."""
        for event in events:
            self.passing |= {found.key: found for found in self.run.hear(event)}

    def progress(self, now: datetime, *, works: bool) -> Progress:
        at = self.run.next_look(since=self.since, quiet_seconds=_quiet())
        look = None if at is None or self.over else _EPOCH + timedelta(microseconds=at)
        if look is not None and look <= now:
            # It was silent for that long already: what comes next is news, or another silence.
            look = now + (_NEXT_SAMPLE if works else timedelta(seconds=_quiet()))
        return Progress(
            sandbox_id=self.sandbox_id,
            seq=self.upto,
            state={} if self.over else self.run.to_json(),
            next_look=look,
            done=self.over,
        )

    def findings(self, now: datetime, *, works: bool) -> list[Finding]:
        at = (now - _EPOCH) // _MICROSECOND
        since = self.since if self.status == Status.RUNNING else at
        return list(self.run.findings(now=at, since=since, quiet_seconds=_quiet(), works=works))

    def gone(self, known: Container[str]) -> list[Finding]:
        """What held within the round, is over by now, and was not told before."""
        return [finding for key, finding in self.passing.items() if key not in known]


def _json(text: Any) -> dict[str, Any]:
    return dict(orjson.loads(text)) if text else {}


def _quiet() -> int:
    return int(settings.ORKESTR_QUIET_SECONDS)


def _read(due: Sequence[_Due]) -> dict[str, list[Told]]:
    values: dict[str, Any] = {
        "ids": [one.sandbox_id for one in due],
        "after": [one.seq for one in due],
        "upto": [one.upto for one in due],
    }
    heard: dict[str, list[Told]] = defaultdict(list)
    with connection.cursor() as cursor:
        for query in (_EVENTS, _OUTPUT):
            cursor.execute(query, values)
            for sandbox_id, seq, at, kind, span, data in cursor.fetchall():
                fields = data if isinstance(data, dict) else _json(data)
                told = Told(seq, (at - _EPOCH) // _MICROSECOND, kind, span, fields)
                heard[sandbox_id].append(told)
    for events in heard.values():
        events.sort(key=lambda event: event.seq)
    return heard


def _working(sandbox_ids: Sequence[str]) -> frozenset[str]:
    """Of these, the runs that compute: what looks like a question there is none."""
    if not sandbox_ids:
        return frozenset()
    cores = cores_lately(sandbox_ids=sandbox_ids)
    return frozenset(each for each, busy in cores.items() if busy >= _WORKS)


def _standing(sandbox_ids: Sequence[str]) -> dict[str, dict[str, Signal]]:
    found: dict[str, dict[str, Signal]] = defaultdict(dict)
    for signal in Signal.objects.filter(sandbox_id__in=sandbox_ids, resolved_at=None):
        found[signal.sandbox_id][signal.key] = signal
    return found


def _settle(
    due: _Due, findings: Sequence[Finding], standing: dict[str, Signal], now: datetime
) -> list[Signal]:
    """Resolve what is over, keep what grew, and return what is new, be it over by now or not."""
    held = {finding.key: finding for finding in findings}
    over = [signal.pk for key, signal in standing.items() if key not in held]
    if over:
        Signal.objects.filter(pk__in=over).update(resolved_at=now)
    for key, finding in held.items():
        signal = standing.get(key)
        if signal is not None and signal.evidence != finding.evidence:
            changed = {"evidence": finding.evidence, "text": finding.text}
            Signal.objects.filter(pk=signal.pk).update(**changed)
    gone = [_signal(due, one, now, resolved_at=now) for one in due.gone(held.keys() | standing)]
    return gone + [_signal(due, one, now) for one in findings if one.key not in standing]


def _signal(
    due: _Due, finding: Finding, now: datetime, *, resolved_at: datetime | None = None
) -> Signal:
    return Signal(
        sandbox_id=due.sandbox_id,
        account_id=due.account_id,
        rule=finding.rule,
        key=finding.key,
        text=finding.text,
        evidence=finding.evidence,
        raised_at=now,
        resolved_at=resolved_at,
    )


def _tell_raised(signal: Signal) -> None:
    data = {"rule": signal.rule, "text": signal.text, "evidence": signal.evidence}
    event = NewEvent(Kind.SIGNAL_RAISED, data, _POLICY)
    signal.seq = event_append(sandbox_id=signal.sandbox_id, event=event).seq
    signal.save()


@transaction.atomic
def signal_dismiss(*, principal: Principal, sandbox_id: str, signal_id: int) -> None:
    """Out of sight until it is over and comes anew. ``Forbidden``, ``SandboxNotFound``,
    ``SignalNotFound``."""
    require(principal, Scope.SANDBOXES_WRITE)
    sandbox: Sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    signal = Signal.objects.select_for_update().filter(pk=signal_id, sandbox=sandbox).first()
    if signal is None:
        raise SignalNotFound
    if signal.dismissed_at is not None:
        return
    signal.dismissed_at = timezone.now()
    signal.dismissed_by = principal.actor.to_json()
    signal.save(update_fields=["dismissed_at", "dismissed_by"])
    data = {"signal": signal.seq, "rule": signal.rule, "text": signal.text}
    event_append(
        sandbox_id=sandbox.id, event=NewEvent(Kind.SIGNAL_DISMISSED, data, principal.actor)
    )
