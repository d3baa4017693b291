"""How long a token's open streams outlive it."""

from __future__ import annotations

import threading
import time

import httpx
from orkestr import Sandbox

from accounts.services import token_revoke
from tests.bench.platform import Bench
from tests.bench.report import Row, quantile
from tests.waiting import until

STREAMS = 20


def revoking(bench: Bench) -> list[Row]:
    """Twenty commands of one token that are followed; when each stream is at its end."""
    sandbox = Sandbox.create(template="debian-12", client=bench.client)
    late: list[float] = []
    try:
        for number in range(bench.many(10)):
            late += _round(bench, sandbox.id, f"bench {number}")
    finally:
        sandbox.terminate()
    return [
        Row(
            what=f"revoke → last of {STREAMS} open streams of that token closed",
            measured=f"last {max(late) * 1e3:.0f} ms, p50 {quantile(late, 0.5) * 1e3:.0f} ms",
            against="-",
            target="≤ 1 s",
            met=max(late) <= 1.0,
        )
    ]


def _round(bench: Bench, sandbox_id: str, name: str) -> list[float]:
    minted = bench.cast.mint(name=name)
    ended: list[float] = []
    opened = threading.Semaphore(0)
    threads = [
        threading.Thread(target=_follow, args=(bench, sandbox_id, minted.text, opened, ended))
        for _ in range(STREAMS)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert opened.acquire(timeout=30), "a stream did not open"
    began = time.monotonic()
    token_revoke(principal=bench.cast.principal(), token_id=minted.token.id)
    until(lambda: len(ended) == STREAMS, seconds=30, what="every stream has ended")
    for thread in threads:
        thread.join(30)
    return [at - began for at in ended]


def _follow(
    bench: Bench, sandbox_id: str, text: str, opened: threading.Semaphore, ended: list[float]
) -> None:
    body = {"command": "echo begun; sleep 20", "stream": True, "timeout_seconds": 30}
    headers = {"Authorization": f"Bearer {text}"}
    url = f"{bench.stack.url}/v1/sandboxes/{sandbox_id}/exec"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        for number, _ in enumerate(answer.iter_raw()):
            if number == 0:
                opened.release()
    ended.append(time.monotonic())


MEASUREMENTS = {"revoking": revoking}
