"""console/server.py as its peers see it: over TCP, with the clients people use."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psutil
import pytest
from orkestr._client import OrkestrClient
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.sync.client import connect

from console.server_frames import framed
from tests.console.server_app import BODY_LIMIT, MIB
from tests.waiting import free_port, until

STREAM_MIB = 200


@dataclass
class Served:
    """The server's process and where it listens."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident(self) -> int:
        """Bytes of memory that are the process's own."""
        return int(psutil.Process(self.process.pid).memory_full_info().uss)

    def started(self) -> int:
        """How many slow answers were begun so far."""
        return int(httpx.get(f"{self.url}/counts").json()["slow"])


@pytest.fixture
def served() -> Iterator[Served]:
    port = free_port()
    argv = [sys.executable, "-m", "tests.console.server_app", str(port)]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    served = Served(process, port)
    try:
        until(lambda: _answers(served), seconds=20)
        yield served
    finally:
        process.kill()
        process.wait()


def _answers(served: Served) -> bool:
    try:
        return httpx.get(f"{served.url}/counts").is_success
    except httpx.TransportError:
        return False


def _settled(served: Served) -> int:
    """The memory after as many reads of it in a row no longer differ by much."""
    seen = [served.resident()]

    def is_steady() -> bool:
        seen.append(served.resident())
        return len(seen) > 10 and max(seen[-10:]) - min(seen[-10:]) < MIB

    until(is_steady, seconds=20)
    return seen[-1]


def test_it_streams_without_loss(served: Served) -> None:
    with httpx.stream("GET", f"{served.url}/stream/20") as response:
        assert sum(len(part) for part in response.iter_bytes()) == 20 * MIB


def test_it_does_not_grow_for_a_reader_that_stands_still(served: Served) -> None:
    before = _settled(served)
    with httpx.stream("GET", f"{served.url}/stream/{STREAM_MIB}") as response:
        parts = response.iter_bytes()
        read = len(next(parts))
        grown = _settled(served) - before
        assert grown < 8 * MIB
        assert read + sum(len(part) for part in parts) == STREAM_MIB * MIB


def test_it_does_not_grow_for_a_websocket_that_does_not_read(served: Served) -> None:
    before = _settled(served)
    with connect(f"ws://127.0.0.1:{served.port}/", max_queue=1) as websocket:
        websocket.send(str(STREAM_MIB))
        assert len(websocket.recv()) == 64 * 1024
        grown = _settled(served) - before
        assert grown < 8 * MIB
        frames = [websocket.recv() for _ in range(STREAM_MIB * 16)]
        assert sum(len(frame) for frame in frames[:-1]) == STREAM_MIB * MIB - 64 * 1024
        assert frames[-1] == "done"


def test_what_is_written_at_once_is_whole_in_order_and_bounded(served: Served) -> None:
    before = _settled(served)
    with connect(f"ws://127.0.0.1:{served.port}/written/", max_queue=1) as websocket:
        websocket.send(str(STREAM_MIB))
        texts = [websocket.recv()]
        assert _settled(served) - before < 8 * MIB
        texts += [websocket.recv()[:8] for _ in range(STREAM_MIB * 16 - 1)]
        assert [text.split()[:2] for text in texts] == [
            [str(number), "é"] for number in range(len(texts))
        ]
        told = json.loads(websocket.recv())
    assert told["refused_early"]
    assert 0 < told["written"] < told["count"]  # behind a reader that stood still it was refused
    until(lambda: httpx.get(f"{served.url}/counts").json()["left"] == 1, seconds=30)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_text_of_any_length_is_framed_as_the_protocol_has_it(size: int) -> None:
    frames = ServerProtocol(state=OPEN)
    frames.send_text(b"x" * size)
    assert b"".join(frames.data_to_send()) == framed(b"x" * size)


def test_it_goes_on_after_a_reader_left_mid_stream(served: Served) -> None:
    with httpx.stream("GET", f"{served.url}/stream/{STREAM_MIB}") as response:
        next(response.iter_bytes())
    assert httpx.get(f"{served.url}/counts").is_success


def test_it_keeps_the_official_client_waiting_beyond_its_read_timeout(served: Served) -> None:
    client = OrkestrClient(api_key="ork_test", base_url=served.url, timeout=1.0)
    assert client.request("GET", "/slow/25") == {"waited": 25}


def test_it_sends_interim_responses_until_the_answer(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as peer:
        peer.sendall(b"GET /slow/10 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = b"".join(iter(lambda: peer.recv(65536), b""))
    interim, final = text.split(b"HTTP/1.1 200")
    assert interim.count(b"HTTP/1.1 102 Processing\r\n\r\n") * 27 == len(interim) > 0
    assert final.rstrip().endswith(b'{"waited": 10}') or b'{"waited": 10}' in final


def test_it_sends_no_interim_response_to_http_1_0(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as peer:
        peer.sendall(b"GET /slow/10 HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: peer.recv(65536), b""))
    assert b" 102 " not in text
    assert b" 200 " in text.splitlines()[0]


def test_it_refuses_a_body_that_is_announced_too_large(served: Served) -> None:
    answer = httpx.post(
        f"{served.url}/size", content=b"x" * (BODY_LIMIT + 1), headers={"x-request-id": "mine-1"}
    )
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert answer.json() == {
        "detail": "The body is larger than 2 MiB; send less, or a file in parts."
    }
    assert answer.headers["x-request-id"] == "mine-1"


def test_it_refuses_a_chunked_body_when_it_becomes_too_large(served: Served) -> None:
    parts = (b"x" * MIB for _ in range(6))
    answer = httpx.post(f"{served.url}/size", content=parts)
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


def test_it_takes_a_body_of_exactly_the_limit(served: Served) -> None:
    answer = httpx.post(f"{served.url}/size", content=b"x" * BODY_LIMIT)
    assert answer.json() == {"size": BODY_LIMIT}


def test_it_names_no_server(served: Served) -> None:
    assert "server" not in httpx.get(f"{served.url}/counts").headers


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [("abc-1.2:3", True), ("x" * 128, True), ("x" * 129, False), ("two words", False), ("", False)],
)
def test_it_keeps_a_sane_request_id_and_makes_one_otherwise(
    served: Served, sent: str, *, is_kept: bool
) -> None:
    answered = httpx.get(f"{served.url}/counts", headers={"x-request-id": sent})
    got = answered.headers["x-request-id"]
    assert (got == sent) if is_kept else got.startswith("req_")


def test_it_lets_a_request_finish_when_asked_to_stop(served: Served) -> None:
    answers: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{served.url}/slow/20", timeout=10))
    )
    caller.start()
    until(lambda: served.started() == 1, seconds=10)
    served.process.send_signal(signal.SIGTERM)
    caller.join(timeout=20)
    assert answers[0].json() == {"waited": 20}
    assert served.process.wait(timeout=20) == 0


def test_it_fails_when_it_cannot_listen(served: Served) -> None:
    argv = [sys.executable, "-m", "tests.console.server_app", str(served.port)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert "Cannot listen" in second.stderr
