"""What a server in a sandbox may try on whoever looks at it, and on the console."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from console.asgi_types import Message, Scope
from console.preview import app as previews
from console.preview.app import Previews
from console.preview.exchange import Patience
from sandboxes.host.egress.limits import Limits
from sandboxes.previews import Preview
from sandboxes.selectors import Target

HOST = b"3000-00000000000000000000000000.localhost"
WAIT = 10
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Visit:
    """One request as the ASGI server makes it, and what came back."""

    sent: list[Message] = field(default_factory=list)
    queue: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def mark(self) -> str:
        """The code of a refusal; empty when the sandbox's answer was passed on."""
        fields: dict[bytes, bytes] = dict(self.sent[0]["headers"])
        return fields.get(b"x-orkestr-preview", b"").decode()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def was_cut(self) -> bool:
        return bool(self.sent[-1]["type"] == "http.response.abort")


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[int]:
    """A server on this machine in place of one in a sandbox."""
    running: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def visit(
    monkeypatch: pytest.MonkeyPatch,
    handler: Handler,
    *,
    method: str = "GET",
    body: list[bytes] | None = None,
    patience: Patience = Patience(answer=0.5, head=0.5, idle=0.5),  # noqa: B008 - frozen
    **more: Any,
) -> Visit:
    async def found(label: str) -> Preview:
        return Preview(3000, Target("sbx_1", "running", ""), "acc_1", False, "payg", True)

    monkeypatch.setattr(previews, "preview_find", found)
    async with served(handler) as port:

        async def connect(preview: Preview, scope: Scope) -> socket.socket:
            return await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), WAIT)

        application = Previews(_nobody, connect=connect, limits=Limits(), patience=patience)
        headers = [(b"host", HOST), *more.get("headers", [])]
        visit = Visit()
        for data in body or [b""]:
            visit.queue.put_nowait({"type": "http.request", "body": data, "more_body": True})
        visit.queue.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        scope = {
            "type": "http",
            "method": method,
            "raw_path": more.get("path", b"/"),
            "query_string": more.get("query", b""),
            "headers": headers,
            "client": ["192.0.2.1", 1],
        }
        async with asyncio.timeout(WAIT):
            await application(scope, visit.queue.get, visit.send)
    return visit


async def _nobody(scope: Scope, receive: Any, send: Any) -> None:
    raise AssertionError("a preview's name reached the console")


def says(*parts: bytes, then: float = 0) -> Handler:
    """Reads the head of a request, writes, and ends after so many seconds."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then:
            await asyncio.sleep(then)

    return handler


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        OK + b"x-a: 1\nx-b: 2\r\n\r\n",
        OK + b"x-a: 1\rx-b: 2\r\n\r\n",
        OK + b"x-a: \0\r\n\r\n",
        OK + b" folded: 1\r\n\r\n",
        OK + b"x y: 1\r\n\r\n",
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        OK + b"content-length: +5\r\n\r\nhello",
        OK + b"content-length: 5, 5\r\n\r\nhello",
        OK + b"content-length: 99999999999999999999\r\n\r\nhello",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
        OK + b"x: " + b"a" * 20_000 + b"\r\n\r\n",
        OK + b"x: a\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100,
        OK + b"x-cut: off",
    ],
)
async def test_an_answer_that_can_be_read_in_two_ways_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    seen = await visit(monkeypatch, says(answer))
    assert (seen.status, seen.mark) == (502, "bad_answer")
    assert b"raw" not in seen.body
    assert not seen.was_cut


async def test_slow_and_endless_heads_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"x: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x: a\r\n" * 100)
            await writer.drain()

    silent = await visit(monkeypatch, says(b"", then=WAIT))
    slow = await visit(monkeypatch, drips)
    assert {silent.status, slow.status} == {504}
    assert {silent.mark, slow.mark} == {"not_answering"}
    assert (await visit(monkeypatch, endless)).mark == "bad_answer"


@pytest.mark.parametrize(
    "body",
    [
        b"content-length: 100\r\n\r\nonly this",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n5" + b";" * 1000 + b"\r\nhello\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
        b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nhello",
    ],
)
async def test_a_body_that_is_not_as_it_says_never_looks_whole(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    seen = await visit(monkeypatch, says(OK + body))
    assert seen.status == 200
    assert seen.was_cut


async def test_a_body_that_stops_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await visit(monkeypatch, says(OK + b"content-length: 9\r\n\r\nhalf", then=WAIT))
    assert (seen.status, seen.was_cut) == (200, True)


async def test_what_follows_an_answer_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    second = OK + b"content-length: 6\r\nset-cookie: a=1\r\n\r\nsecond"
    seen = await visit(monkeypatch, says(OK + b"content-length: 5\r\n\r\nfirst" + second))
    assert (seen.body, seen.was_cut) == (b"first", False)
    head = await visit(monkeypatch, says(OK + b"content-length: 5\r\n\r\n" + second), method="HEAD")
    assert head.body == b""
    none = await visit(monkeypatch, says(b"HTTP/1.1 204 No\r\ncontent-length: 6\r\n\r\n" + second))
    assert (none.status, none.body) == (204, b"")
    assert b"content-length" not in dict(none.sent[0]["headers"])


async def test_an_answer_before_the_end_of_a_request_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too much\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()

    size = 100 * 65536
    seen = await visit(
        monkeypatch,
        early,
        method="POST",
        body=[b"x" * 65536] * 100,
        headers=[(b"content-length", str(size).encode())],
    )
    assert (seen.status, seen.body) == (413, b"no")


@pytest.mark.parametrize(
    "request_parts",
    [
        {"method": "GET / HTTP/1.1\r\nx:"},
        {"path": b"http://evil.example/"},
        {"path": b"/ HTTP/1.1\r\nx: y"},
        {"path": b"/ x"},
        {"query": b"a b"},
        {"query": b"a\r\nb: c"},
        {"headers": [(b"content-length", b"1"), (b"content-length", b"2")]},
        {"headers": [(b"content-length", b"-1")]},
    ],
)
async def test_a_request_that_could_hide_another_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, request_parts: dict[str, Any]
) -> None:
    reached = asyncio.Event()

    async def notes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            reached.set()

    seen = await visit(monkeypatch, notes, **request_parts)
    assert seen.status == 422
    assert not reached.is_set()


async def test_framing_is_this_servers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    got = bytearray()

    async def notes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"))
        writer.write(OK + b"content-length: 0\r\n\r\n")

    await visit(
        monkeypatch,
        notes,
        method="POST",
        body=[b"0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n"],
        headers=[
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"3"),
            (b"connection", b"upgrade, x-hop"),
            (b"upgrade", b"h2c"),
            (b"http2-settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
            (b"x-hop", b"1"),
            (b"expect", b"100-continue"),
        ],
    )
    head = bytes(got).partition(b"\r\n\r\n")[0].lower()
    assert b"transfer-encoding: chunked" in head
    for gone in (b"content-length", b"upgrade", b"http2-settings", b"x-hop", b"expect"):
        assert gone not in head
    assert b"1d\r\n0\r\n\r\nGET /hidden" in got
