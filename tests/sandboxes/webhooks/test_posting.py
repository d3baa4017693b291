"""One POST, against servers that do what servers should not."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from sandboxes.webhooks import posting, targets
from sandboxes.webhooks.posting import Outcome, post
from sandboxes.webhooks.targets import parse

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _loopback_is_open(settings: Settings) -> None:
    settings.ORKESTR_WEBHOOK_ALLOW_LOOPBACK = True


@asynccontextmanager
async def serving(talk: Talk, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def saying(answer: bytes) -> Talk:
    """Reads the request's head, says this, and waits for the other side to hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        await reader.read()

    return talk


async def posted(talk: Talk, *, seconds: float = 20, path: str = "/hook") -> Outcome:
    async with serving(talk) as port:
        target = parse(f"http://127.0.0.1:{port}{path}")
        return await post(target, headers={"X-A": "b"}, body=b'{"a": 1}', seconds=seconds)


async def test_the_request_is_what_it_should_be() -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        heard.append(await reader.readexactly(8))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")

    outcome = await posted(talk, path="/a%20b?c=d")
    assert (outcome.status, outcome.body, outcome.error) == (202, b"ok", "")
    assert outcome.delivered
    head, body = heard
    assert head.startswith(b"POST /a%20b?c=d HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-A: b\r\n" in head
    assert b"\r\nContent-Length: 8\r\n" in head
    assert body == b'{"a": 1}'


ANSWERS = {
    b"HTTP/1.1 204 No Content\r\n\r\n": (204, b""),
    b"HTTP/1.0 200 OK\r\n\r\n": (200, b""),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx": (200, b"x"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n": (200, b"abc"),
    b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b"y" * 70_000: (200, b"y" * 1024),
    b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n": (302, b""),
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone": (404, b"none"),
}


@pytest.mark.parametrize(("answer", "wanted"), ANSWERS.items(), ids=range(len(ANSWERS)))
async def test_an_answer_is_read_as_far_as_it_is_kept(
    answer: bytes, wanted: tuple[int, bytes]
) -> None:
    if answer.startswith(b"HTTP/1.0"):
        outcome = await posted(_hanging_up(answer))
    else:
        outcome = await posted(saying(answer))
    assert (outcome.status, outcome.body) == wanted
    assert outcome.delivered == (200 <= wanted[0] < 300)
    assert bool(outcome.error) != outcome.delivered


def _hanging_up(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.write_eof()
        await reader.read()

    return talk


NONSENSE = {
    "nothing": b"",
    "words": b"hello there, this is no HTTP\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 200_000,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 50_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "zeros": b"\0" * 100_000,
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
async def test_an_answer_that_is_none_is_a_failure_with_a_reason(answer: bytes) -> None:
    outcome = await posted(_hanging_up(answer))
    assert not outcome.delivered
    assert outcome.status is None
    assert outcome.error.endswith(".")
    assert len(outcome.error) <= 500


async def test_who_answers_byte_by_byte_does_not_get_more_time() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        while not reader.at_eof():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    outcome = await posted(talk, seconds=0.3)
    assert outcome.error == "There was no answer within 0.3 seconds."


async def test_a_closed_port_is_told() -> None:
    async with serving(saying(b"")) as port:
        pass
    target = parse(f"http://127.0.0.1:{port}/")
    outcome = await post(target, headers={}, body=b"", seconds=20)
    assert outcome.error.startswith("The connection failed: ")


async def test_the_address_that_was_checked_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    monkeypatch.setattr(targets, "_lookup", lookup)
    async with serving(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
        target = parse(f"http://rebinding.example:{port}/")
        first = await post(target, headers={}, body=b"", seconds=20)
        second = await post(target, headers={}, body=b"", seconds=20)
    assert first.delivered
    assert "10.0.0.1 (private address)" in second.error
    assert asked == ["rebinding.example"] * 2


async def test_of_several_addresses_only_allowed_ones_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = ["10.0.0.1", "127.0.0.9", "127.0.0.1"]
    monkeypatch.setattr(targets, "_lookup", lambda _: found)
    async with serving(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
        target = parse(f"http://many.example:{port}/")
        assert await targets.resolve(target) == ["127.0.0.9", "127.0.0.1"]
        assert (await post(target, headers={}, body=b"", seconds=20)).delivered


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For ``hooks.example``, signed by itself."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    files = ["-keyout", str(key), "-out", str(cert)]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*make, *names, *files], check=True, capture_output=True)
    return key, cert


async def test_tls_is_verified_with_the_name_of_the_url(
    monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    key, cert = certificate
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    monkeypatch.setattr(targets, "_lookup", lambda _: ["127.0.0.1"])
    async with serving(saying(b"HTTP/1.1 204 No Content\r\n\r\n"), tls=server) as port:

        async def outcome(name: str) -> Outcome:
            target = parse(f"https://{name}:{port}/")
            return await post(target, headers={}, body=b"", seconds=20)

        unknown = await outcome("hooks.example")
        trusting = ssl.create_default_context(cafile=str(cert))
        monkeypatch.setattr(posting, "_tls", lambda: trusting)
        known = await outcome("hooks.example")
        misnamed = await outcome("other.example")
    assert unknown.error.startswith("TLS failed: ")
    assert known.delivered
    assert misnamed.error.startswith("TLS failed: ")
    assert "other.example" in misnamed.error
