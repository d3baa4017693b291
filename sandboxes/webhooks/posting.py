"""One POST to a checked address. No Django, no redirects, and an end to everything."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final

import h11

from sandboxes.webhooks.targets import BadTarget, Target, resolve

BODY_KEPT: Final = 1024
_READ: Final = 16 * 1024
_HEADERS_MAX: Final = 64 * 1024
_CONNECT_SECONDS: Final = 3.0
"""What an address has for itself while there is another to try."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt. ``status`` is None without an answer; ``error`` says why."""

    duration_ms: int
    status: int | None = None
    body: bytes = b""
    error: str = ""

    @property
    def delivered(self) -> bool:
        """Only a 2xx counts: whoever answers with a redirect has not taken it."""
        return self.status is not None and 200 <= self.status < 300


async def post(
    target: Target, *, headers: Mapping[str, str], body: bytes, seconds: float
) -> Outcome:
    """Never raises for what the other side or the network does. ``seconds`` bound all of it."""
    began = time.monotonic()
    error = ""
    try:
        async with asyncio.timeout(seconds):
            status, kept = await _post(target, headers, body)
        if not 200 <= status < 300:
            error = _not_taken(status)
        return Outcome(_since(began), status, kept, error)
    except BadTarget as refused:
        error = str(refused)
    except TimeoutError:
        error = f"There was no answer within {seconds:g} seconds."
    except ssl.SSLError as problem:
        error = f"TLS failed: {getattr(problem, 'verify_message', '') or problem.reason}."
    except h11.RemoteProtocolError as problem:
        error = f"The answer was not HTTP: {problem}."
    except OSError as problem:
        error = f"The connection failed: {problem.strerror or type(problem).__name__}."
    return Outcome(_since(began), error=error[:500])


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _not_taken(status: int) -> str:
    if 300 <= status < 400:
        return f"The answer was {status}; redirects are not followed."
    return f"The answer was {status}."


async def _post(target: Target, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    reader, writer = await _connect(target, await resolve(target))
    try:
        talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADERS_MAX)
        writer.write(_request(talk, target, headers, body))
        return await _answer(talk, reader)
    finally:
        writer.transport.abort()


async def _connect(
    target: Target, found: Sequence[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes it. Raises the last ``OSError``; ``found`` is not empty."""
    secure = _tls() if target.scheme == "https" else None
    name = target.host if secure else None
    for address in found[:-1]:
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await asyncio.open_connection(
                    address, target.port, ssl=secure, server_hostname=name, limit=_READ
                )
    return await asyncio.open_connection(
        found[-1], target.port, ssl=secure, server_hostname=name, limit=_READ
    )


@cache
def _tls() -> ssl.SSLContext:
    """The machine's certificates; the name in the URL is what must be on the other side's."""
    return ssl.create_default_context()


def _request(
    talk: h11.Connection, target: Target, headers: Mapping[str, str], body: bytes
) -> bytes:
    rows = {
        "Host": target.authority,
        **headers,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    request = h11.Request(method="POST", target=target.path, headers=list(rows.items()))
    parts = (talk.send(event) for event in (request, h11.Data(data=body), h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


async def _answer(talk: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status, and as much of the body as is kept. The rest is never read."""
    status, kept = 0, b""
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            kept += bytes(event.data)
            if len(kept) >= BODY_KEPT:
                return status, kept[:BODY_KEPT]
        elif isinstance(event, h11.EndOfMessage):
            return status, kept
