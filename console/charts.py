"""What the Metrics tab draws: use over time, with what ran meanwhile."""

from __future__ import annotations

from typing import Any, Final

from asgiref.sync import async_to_sync

from sandboxes.host.types import HostError
from sandboxes.models import ENDED, Sandbox
from sandboxes.services import host_client
from sandboxes.usage.history import usage_history
from sandboxes.usage.metrics import metrics_of
from timeline.events import Event, Kind
from timeline.inert import inert
from timeline.selectors import events_before

#: The newest commands and turns of a run that are marked.
COMMANDS: Final = 500
TURNS: Final = 100
_LABEL: Final = 80
_ENDS: Final = [Kind.COMMAND_STARTED.value, Kind.COMMAND_EXITED.value]
_TURNS: Final = [kind.value for kind in Kind if kind.startswith("sandbox.")] + [
    Kind.LIMIT_HIT.value
]

_NO_TURNS: Final = (
    Kind.SANDBOX_TIMEOUT_CHANGED,
    Kind.SANDBOX_BUDGET_CHANGED,
    Kind.SANDBOX_EXPIRING,
)


def chart_of(sandbox: Sandbox) -> dict[str, Any]:
    """JSON of one chart. Times are Unix seconds.

    ``history`` holds begin, end, and the means of busy cores and bytes between them, of the whole
    run; ``samples`` time, busy cores and bytes of each second of the last minute; ``commands``
    begin, end (null while it runs), state, text and ``seq``.
    """
    is_away, samples, lifetime = False, [], None
    try:
        metrics = async_to_sync(metrics_of)(sandbox, host=host_client())
        samples = [[one.at, round(one.cores, 4), one.memory] for one in metrics.samples]
        lifetime = metrics.lifetime
    except HostError:
        is_away = True
    return {
        "status": sandbox.status,
        "is_over": sandbox.status in ENDED,
        "is_away": is_away,
        "cores": float(sandbox.cpu),
        "memory": sandbox.memory_mb * 1024 * 1024,
        "history": _history(sandbox),
        "samples": samples,
        "cpu_seconds": round(lifetime.cpu_seconds, 2) if lifetime else None,
        "gb_seconds": round(lifetime.gb_seconds, 2) if lifetime else None,
        "commands": _commands(sandbox.id),
        "turns": _turns(sandbox.id),
    }


def _history(sandbox: Sandbox) -> list[list[float]]:
    return [
        [point.began.timestamp(), point.at.timestamp(), round(point.cores, 4), point.memory]
        for point in usage_history(sandbox)
    ]


def _commands(sandbox_id: str) -> list[dict[str, Any]]:
    events = events_before(sandbox_id=sandbox_id, kinds=_ENDS, limit=2 * COMMANDS)
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.kind == Kind.COMMAND_STARTED and event.span:
            rows[event.span] = _begun(event)
        elif event.span in rows:
            is_good = event.data.get("exit_code") == 0
            rows[event.span].update(end=event.at / 1e6, state="ok" if is_good else "bad")
    return list(rows.values())[-COMMANDS:]


def _begun(event: Event) -> dict[str, Any]:
    text = inert(str(event.data.get("command", ""))[:_LABEL])
    return {"seq": event.seq, "begin": event.at / 1e6, "end": None, "state": "busy", "text": text}


def _turns(sandbox_id: str) -> list[dict[str, Any]]:
    events = events_before(sandbox_id=sandbox_id, kinds=_TURNS, limit=TURNS)
    return [
        {"seq": event.seq, "at": event.at / 1e6, "word": event.kind.partition(".")[2]}
        for event in events
        if event.kind not in _NO_TURNS
    ]
