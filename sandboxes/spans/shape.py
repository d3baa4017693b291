"""A command as a span. Its ids come from those of sandbox and command: sent twice, it is one."""

from __future__ import annotations

import hashlib
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from timeline.commands import Ending, asked, ending_of
from timeline.events import Event

_TEXT: Final = 4000
_NAME: Final = 80
_SCOPE: Final = InstrumentationScope("orkestr")
_NUMBERS: Final = {
    "cpu_ms": "orkestr.cpu_ms",
    "peak_memory_bytes": "orkestr.peak_memory_bytes",
    "stdout_bytes": "orkestr.stdout_bytes",
    "stderr_bytes": "orkestr.stderr_bytes",
}


def command_span(*, started: Event, ended: Event, resource: Resource) -> ReadableSpan:
    """A command or cell that is over, within its sandbox's span."""
    text = asked(started.data)
    line = (text.strip().splitlines() or [started.kind])[0]
    return ReadableSpan(
        name=line[:_NAME],
        context=_context(started.sandbox_id, started.span or str(started.seq)),
        parent=_context(started.sandbox_id, ""),
        resource=resource,
        attributes=_attributes(started, ended, text),
        kind=SpanKind.INTERNAL,
        status=_status(ending_of(ended.data)),
        start_time=started.at * 1000,
        end_time=max(started.at, ended.at) * 1000,
        instrumentation_scope=_SCOPE,
    )


def sandbox_span(*, sandbox_id: str, began: int, ended: Event, resource: Resource) -> ReadableSpan:
    """A whole run, once it is over; ``began`` in microseconds since the epoch."""
    failed = ended.kind == "sandbox.failed"
    reason = str(ended.data.get("reason") or "")
    return ReadableSpan(
        name="sandbox",
        context=_context(sandbox_id, ""),
        resource=resource,
        attributes={"orkestr.reason": reason},
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, reason) if failed else Status(StatusCode.OK),
        start_time=began * 1000,
        end_time=max(began, ended.at) * 1000,
        instrumentation_scope=_SCOPE,
    )


def _context(sandbox_id: str, span: str) -> SpanContext:
    trace = hashlib.sha256(sandbox_id.encode()).digest()[:16]
    own = hashlib.sha256(f"{sandbox_id} {span}".encode()).digest()[:8]
    return SpanContext(
        int.from_bytes(trace), int.from_bytes(own), False, TraceFlags(TraceFlags.SAMPLED)
    )


def _attributes(started: Event, ended: Event, text: str) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {
        "process.command_line": text[:_TEXT],
        "process.working_directory": str(started.data.get("cwd") or ""),
        "orkestr.kind": "cell" if started.kind == "code.run" else "command",
        "orkestr.seq": started.seq,
        "orkestr.actor.type": started.actor.type,
        "orkestr.actor.name": started.actor.name,
    }
    for field, name in _NUMBERS.items():
        value = ended.data.get(field)
        if isinstance(value, (int, float)):
            found[name] = value
    exit_code = ended.data.get("exit_code")
    if isinstance(exit_code, int):
        found["process.exit.code"] = exit_code
    if ended.data.get("timed_out"):
        found["orkestr.timed_out"] = True
    return found


def _status(ending: Ending) -> Status:
    if ending.state == "ok":
        return Status(StatusCode.OK)
    return Status(StatusCode.ERROR, ending.how)
