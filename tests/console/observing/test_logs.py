"""What stands in a line of the log, and what never does."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import structlog
from structlog.testing import capture_logs

from accounts.tokens import fresh
from console.asgi_types import Message, Receive, Scope, Send
from console.observing.http import Counted, name_route
from sandboxes.host.logs import SHARED, rendering
from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until


def line_of(message: str, *, as_json: bool = True, error: Exception | None = None) -> str:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED, processors=rendering(as_json=as_json)
    )
    trace = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("console", logging.INFO, __file__, 1, message, None, trace)
    return formatter.format(record)


def test_a_line_is_one_object_with_the_ids_it_is_about() -> None:
    with structlog.contextvars.bound_contextvars(request_id="req_1", sandbox_id="sbx_1"):
        row = json.loads(line_of("It was\nsaid."))
    assert row["event"] == "It was\nsaid."
    assert (row["request_id"], row["sandbox_id"]) == ("req_1", "sbx_1")
    assert row["level"] == "info"
    assert row["timestamp"].endswith("Z")


def test_no_line_has_a_token_in_it() -> None:
    token = fresh().text
    for as_json in (True, False):
        line = line_of(f"Refused: Bearer {token}.", as_json=as_json)
        assert token[4:20] not in line
        assert "ork_" in line


def test_nothing_from_outside_begins_a_line_or_speaks_to_the_terminal() -> None:
    odd = "x\r\n2026-01-01 [info] You are \x1b[32mroot\u2028."
    with structlog.contextvars.bound_contextvars(sandbox_id=odd):
        text, row = line_of(f"It is {odd}", as_json=False), line_of(f"It is {odd}")
    assert len(text.splitlines()) == len(row.splitlines()) == 1
    assert "\x1b" not in text + row
    assert r"It is x\r\n2026-01-01 [info] You are \x1b[32mroot\u2028." in text


def test_a_traceback_keeps_its_lines() -> None:
    try:
        json.loads("odd")
    except ValueError as error:
        assert len(line_of("It failed", as_json=False, error=error).splitlines()) > 3


async def test_a_request_is_logged_by_its_route_when_that_is_wanted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name_route(scope, "sandboxes/<str:sandbox_id>/")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def nothing() -> Message:
        raise AssertionError

    async def drop(message: Message) -> None:
        pass

    def scope() -> dict[str, Any]:
        return {"type": "http", "method": "GET", "path": "/sandboxes/sbx_1/"}

    with capture_logs() as logs:
        await Counted(app, log_requests=True)(scope(), nothing, drop)
        await Counted(app, log_requests=False)(scope(), nothing, drop)
    (line,) = logs
    assert line["route"] == "sandboxes/<str:sandbox_id>/"
    assert line["status"] == 200
    assert line["duration_ms"] >= 0


def test_a_request_id_is_taken_or_made_and_an_error_has_all_ids(
    stack: Stack, account: Cast
) -> None:
    headers = {"Authorization": f"Bearer {account.mint().text}", "X-Request-ID": "mine-42"}
    stack.kill("host")
    sandbox_id = account.ended_sandbox()
    answer = httpx.post(
        f"{stack.url}/v1/sandboxes", json={"template": "debian-12"}, headers=headers, timeout=30
    )
    assert answer.headers["x-request-id"] == "mine-42"
    odd = httpx.get(f"{stack.url}/v1/sandboxes/{sandbox_id}", headers={"X-Request-ID": "a b"})
    assert odd.headers["x-request-id"].startswith("req_")
    httpx.get(f"{stack.url}/readyz", headers={"X-Request-ID": "ready-42"})

    def told() -> bool:
        rows = [json.loads(row) for row in stack.log("asgi").splitlines() if row.startswith("{")]
        return any(
            row["event"] == "part_down" and row.get("request_id") == "ready-42" for row in rows
        )

    until(told, seconds=30, what="the log tells which part is down, and who asked")
