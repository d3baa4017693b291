"""/metrics: every stage of the event path of a real run, who may read it, and what names it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import httpx
import pytest
from django.test import RequestFactory, override_settings
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from websockets.asyncio.client import connect
from websockets.typing import Origin

from console.observing import http, tasks  # noqa: F401 - for what they register
from console.observing.page import may_read
from sandboxes import metrics  # noqa: F401
from sandboxes.reaper import HEARTBEAT
from tests.cast import PASSWORD, Cast
from tests.stack import Stack
from tests.waiting import until
from timeline import shipping

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
_NAME = re.compile(r"\borkestr_[a-z0-9_]+")
_ID = re.compile(r"(?:sbx|acc|tok|cmd|req)_[0-9A-Za-z]{10,}")
#: Suffixes under which the samples of one metric come.
_SUFFIXES = ("_bucket", "_sum", "_count")


def samples(stack: Stack) -> dict[str, float]:
    """Every sample's value, summed over its labels but ``le``."""
    text = httpx.get(f"{stack.url}/metrics", timeout=30).raise_for_status().text
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def names(stack: Stack) -> set[str]:
    """Of all metrics there are: those with samples, and what may have some later."""
    text = httpx.get(f"{stack.url}/metrics", timeout=30).raise_for_status().text
    later = generate_latest(REGISTRY) + generate_latest(shipping.REGISTRY)
    return set(re.findall(r"^# TYPE (orkestr_\S+)", text + later.decode(), re.MULTILINE))


def session_of(stack: Stack, cast: Cast) -> str:
    with httpx.Client(base_url=stack.url) as client:
        client.get("/login/")
        form = {
            "email": cast.owner.email,
            "password": PASSWORD,
            "csrfmiddlewaretoken": client.cookies["orkestr_csrf"],
        }
        assert client.post("/login/", data=form).is_redirect
        return client.cookies["orkestr_session"]


async def watch(stack: Stack, sandbox_id: str, session: str, seen: asyncio.Event) -> None:
    """Watch a timeline until told otherwise, acknowledging nothing."""
    address = stack.url.replace("http", "ws") + f"/ws/sandboxes/{sandbox_id}/timeline/"
    headers = {"Cookie": f"orkestr_session={session}"}
    async with connect(address, additional_headers=headers, origin=Origin(stack.url)) as socket:
        while '"edge"' not in str(await socket.recv()):
            pass
        seen.set()
        await asyncio.sleep(3600)


def test_every_stage_of_the_event_path_is_counted(
    stack: Stack, account: Cast, sandbox_client: OrkestrClient
) -> None:
    before = samples(stack)
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    session = session_of(stack, account)

    async def live() -> dict[str, float]:
        seen = asyncio.Event()
        watching = asyncio.create_task(watch(stack, sandbox.id, session, seen))
        try:
            async with asyncio.timeout(60):
                await seen.wait()
            await asyncio.to_thread(sandbox.exec, "seq 1 2000")
            return await asyncio.to_thread(_when_live, stack, before)
        finally:
            watching.cancel()

    now = asyncio.run(live())
    rose = {name for name, value in now.items() if value > before.get(name, 0.0)}
    assert rose >= {
        "orkestr_shipper_events_total",
        "orkestr_shipper_batch_events_count",
        "orkestr_tail_batches_total",
        "orkestr_store_events_total",
        "orkestr_store_round_events_count",
        "orkestr_store_lag_seconds_count",
        "orkestr_live_entries_total",
        "orkestr_hub_entries_total",
        "orkestr_timeline_sent_units_total",
        "orkestr_websockets_total",
        "orkestr_sandbox_creates_total",
        "orkestr_sandbox_create_seconds_count",
        "orkestr_host_boot_seconds_count",
        "orkestr_host_calls_total",
        "orkestr_http_requests_total",
        "orkestr_tasks_total",
    }
    assert now["orkestr_hub_viewers"] == 1
    assert now["orkestr_websockets_open"] == 1
    assert now["orkestr_part_up"] == 5
    until(
        lambda: samples(stack)["orkestr_websockets_open"] == 0, seconds=30, what="the socket closed"
    )
    sandbox.terminate()


def _when_live(stack: Stack, before: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}

    def arrived() -> bool:
        found.update(samples(stack))
        name = "orkestr_hub_entries_total"
        return found[name] > before.get(name, 0.0) and found["orkestr_part_up"] == 5

    until(arrived, seconds=60, what="events have come live")
    return found


def test_labels_name_routes_and_never_a_sandbox(
    stack: Stack, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox_id = account.ended_sandbox()
    headers = {"Authorization": f"Bearer {account.mint().text}"}
    httpx.get(f"{stack.url}/v1/sandboxes/{sandbox_id}", headers=headers).raise_for_status()
    httpx.get(f"{stack.url}/v1/sandboxes/{sandbox_id}/nowhere", headers=headers)
    httpx.request("BREW", f"{stack.url}/tea/{sandbox_id}")
    text = httpx.get(f"{stack.url}/metrics", timeout=30).text
    assert not _ID.search(text)
    assert 'route="v1/sandboxes/<sandbox_id>"' in text
    assert 'method="other",route="none"' in text


def test_what_the_dashboard_and_the_alerts_name_is_there(stack: Stack) -> None:
    there = names(stack)
    for file in ("grafana-dashboard.json", "alerts.yml"):
        named = set(_NAME.findall((DEPLOY / file).read_text()))
        assert named, file
        unknown = {name for name in named if not _exists(name, there)}
        assert not unknown, f"{file} names what /metrics has not: {sorted(unknown)}"
    shown = (DEPLOY / "grafana-dashboard.json").read_text()
    hidden = {name for name in there if not name.endswith("_created") and name not in shown}
    assert not hidden, f"the dashboard shows nothing of {sorted(hidden)}"
    assert json.loads(shown)["panels"]


def _exists(name: str, there: set[str]) -> bool:
    return name in there or any(name.removesuffix(suffix) in there for suffix in _SUFFIXES)


@pytest.mark.parametrize(
    ("about", "may"),
    [
        ({}, True),
        ({"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:8000"}, True),
        ({"REMOTE_ADDR": "192.0.2.7"}, False),
        ({"REMOTE_ADDR": ""}, False),
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({"HTTP_FORWARDED": "for=127.0.0.1"}, False),
        ({"HTTP_HOST": "console.example.org"}, False),
    ],
)
def test_without_a_token_this_machine_alone_may_read(about: dict[str, str], may: bool) -> None:
    request = RequestFactory().get("/metrics", **{"HTTP_HOST": "127.0.0.1:8000", **about})  # type: ignore[arg-type]
    assert may_read(request) is may


@pytest.mark.parametrize(
    ("header", "may"),
    [("Bearer a long secret", True), ("Bearer a long secre", False), ("", False), ("ü", False)],
)
def test_a_token_lets_its_bearer_in_from_anywhere_and_nobody_else(header: str, may: bool) -> None:
    about = {"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": header}
    request = RequestFactory().get("/metrics", **about)  # type: ignore[arg-type]
    with override_settings(ORKESTR_METRICS_TOKEN="a long secret"):
        assert may_read(request) is may


def test_readyz_tells_that_workers_are_away_and_the_console_still_serves(stack: Stack) -> None:
    stack.kill("beat")

    redis = Redis.from_url(stack.redis_url)

    def degraded() -> bool:
        redis.set(HEARTBEAT, time.time() - 60)  # as if it had been away for a minute
        answer = httpx.get(f"{stack.url}/readyz")
        return answer.status_code == 200 and answer.json()["parts"]["beat"] == "down"

    until(degraded, seconds=90, what="readyz tells of it")
    assert httpx.get(f"{stack.url}/readyz").json()["status"] == "degraded"
