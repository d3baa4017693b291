"""Commands as spans, taken by a real receiver of OTLP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus
from pytest_django import Settings

from sandboxes.models import Sandbox, Status
from sandboxes.spans import services
from sandboxes.spans.models import Sent
from sandboxes.spans.services import spans_send
from tests.cast import Cast
from timeline.events import Actor, Kind, NewEvent
from timeline.services import events_append

AGENT = Actor("token", id="tok_1", name="agent", prefix="ork_abcdefgh")


class Receiver:
    """What a collector is to an exporter. ``answer`` is the status it gives."""

    def __init__(self) -> None:
        self.answer = 200
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.answer == 200:
                    receiver.requests.append(ExportTraceServiceRequest.FromString(body))
                    receiver.headers.append(dict(self.headers.items()))
                self.send_response(receiver.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def receiver(settings: Settings, account: Cast) -> Iterator[Receiver]:
    """One that has been told of all that other tests left."""
    receiver = Receiver()
    settings.ORKESTR_OTLP_ENDPOINT = receiver.url
    settings.ORKESTR_OTLP_HEADERS = "authorization=Bearer x, tenant=me"
    settings.ORKESTR_OTLP_TIMEOUT_SECONDS = 1.0
    services._exporter.cache_clear()
    try:
        while spans_send():
            pass
        receiver.requests.clear()
        receiver.headers.clear()
        yield receiver
    finally:
        receiver.close()
        services._exporter.cache_clear()


@pytest.fixture
def run(account: Cast) -> Sandbox:
    return account.sandbox_row(status=Status.RUNNING)


def _command(text: str, code: int | None, span: str) -> list[NewEvent]:
    begin = NewEvent(Kind.COMMAND_STARTED, {"command": text, "cwd": "/workspace"}, AGENT, span)
    data = {"exit_code": code, "signal": None if code is not None else 9, "cpu_ms": 7}
    end = NewEvent(Kind.COMMAND_EXITED, data, AGENT, span, begin.at + 250_000)
    return [begin, end]


def _attributes(span: Span) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in span.attributes
    }


def test_a_command_is_a_span_within_its_runs_trace(receiver: Receiver, run: Sandbox) -> None:
    events_append(sandbox_id=run.id, events=_command("make test\nmake more", 2, "cmd_1"))
    events_append(sandbox_id=run.id, events=_command("true", 0, "cmd_2")[:1])
    assert spans_send() == 1
    (span,) = receiver.spans
    assert span.name == "make test"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert (span.status.code, span.status.message) == (SpanStatus.STATUS_CODE_ERROR, "exit 2")
    found = _attributes(span)
    assert found["process.command_line"] == "make test\nmake more"
    assert (found["process.exit.code"], found["orkestr.cpu_ms"]) == (2, 7)
    assert (found["orkestr.actor.name"], found["orkestr.seq"]) == ("agent", 1)
    assert receiver.headers[0]["tenant"] == "me"
    (resource,) = receiver.requests[0].resource_spans
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert about["orkestr.sandbox.id"] == run.id
    assert spans_send() == 0

    rest = [*_command("true", 0, "cmd_2")[1:], *_command("sleep 9", None, "cmd_3")]
    ended = NewEvent(Kind.SANDBOX_TERMINATED, {"reason": "requested"})
    events_append(sandbox_id=run.id, events=[*rest, ended])
    Sandbox.objects.filter(id=run.id).update(status=Status.TERMINATED)
    assert spans_send() == 3
    whole = receiver.spans[-1]
    assert whole.name == "sandbox"
    assert {one.trace_id for one in receiver.spans} == {whole.trace_id}
    assert {one.parent_span_id for one in receiver.spans[:-1]} == {whole.span_id}
    assert receiver.spans[2].status.message == "signal 9"
    assert Sent.objects.get(sandbox=run).done


def test_a_run_that_begins_and_ends_between_two_rounds_is_sent_whole(
    receiver: Receiver, run: Sandbox, account: Cast
) -> None:
    assert spans_send() == 0
    short = account.sandbox_row(status=Status.TERMINATED, ended_at=timezone.now())
    events_append(sandbox_id=short.id, events=_command("true", 0, "cmd_1"))
    assert spans_send() == 1
    assert not Sent.objects.get(sandbox=short).done  # its end is still to be stored
    ended = NewEvent(Kind.SANDBOX_TERMINATED, {"reason": "requested"})
    events_append(sandbox_id=short.id, events=[ended])
    assert spans_send() == 1
    assert [span.name for span in receiver.spans] == ["true", "sandbox"]
    assert Sent.objects.get(sandbox=short).done


def test_what_a_collector_did_not_take_is_sent_again_and_nothing_is_lost(
    receiver: Receiver, run: Sandbox
) -> None:
    events_append(sandbox_id=run.id, events=_command("one", 0, "cmd_1"))
    receiver.answer = 500
    assert spans_send() == 0
    assert Sent.objects.get(sandbox=run).seq == 0
    events_append(sandbox_id=run.id, events=_command("two", 0, "cmd_2"))
    receiver.answer = 200
    assert spans_send() == 2
    assert [span.name for span in receiver.spans] == ["one", "two"]


def test_many_commands_go_in_bounded_batches(receiver: Receiver, run: Sandbox) -> None:
    events = [event for n in range(1100) for event in _command(f"c{n}", 0, f"cmd_{n}")]
    events_append(sandbox_id=run.id, events=events)
    assert spans_send() == 1100
    sizes = [
        sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
        for request in receiver.requests
    ]
    assert sizes == [500, 500, 100]
    assert len({span.span_id for span in receiver.spans}) == 1100


def test_without_a_collector_nothing_is_read(run: Sandbox, settings: Settings) -> None:
    settings.ORKESTR_OTLP_ENDPOINT = ""
    assert spans_send() == 0
    assert not Sent.objects.exists()
