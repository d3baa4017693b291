"""One request to a server in a sandbox, and its answer, at the pace of the slower side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from console.asgi_types import Receive, Scope, Send
from console.preview import headers
from sandboxes.host.egress.body import pieces
from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.relay import read_head
from sandboxes.host.egress.request import RequestError, Response, parse_response
from sandboxes.host.types import HostError

#: A message of ``console/server.py``: the answer cannot be finished, so its connection is ended.
ABORT: Final = {"type": "http.response.abort"}
#: Interim answers (1xx) before the real one; none is passed on.
_INTERIM: Final = 8


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for an answer to begin, then for its head to be whole, then between its bytes."""

    answer: float = 300.0
    head: float = 10.0
    idle: float = 600.0


class GoneError(Exception):
    """The visitor has left."""


class Sender:
    """An answer's way out. ``has_begun`` when it is too late for another one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def begin(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self.has_begun = True
        message = {"type": "http.response.start", "status": status, "headers": list(fields)}
        await self._send(message)

    async def piece(self, body: bytes, *, more: bool) -> None:
        """Waits while the visitor is behind."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def abort(self) -> None:
        await self._send(ABORT)


async def exchange(
    scope: Scope,
    receive: Receive,
    sender: Sender,
    channel: Channel,
    *,
    query: bytes,
    given: Iterable[tuple[bytes, bytes]] = (),
    patience: Patience,
) -> None:
    """``given`` goes with the answer's own fields.

    Raises ``HostError`` (bad_answer, not_answering) while the visitor has seen nothing,
    ``ConnectionError`` or ``TimeoutError`` after, ``GoneError`` when nobody is there to see it.
    """
    head = headers.request_head(scope, query=query)
    chunked = headers.length_of(scope) == b"chunked"
    answering = asyncio.ensure_future(
        _answer(channel, sender, method=scope["method"], given=given, patience=patience)
    )
    asking = asyncio.ensure_future(_ask(receive, channel, head, chunked=chunked))
    try:
        await asyncio.wait({answering, asking}, return_when=asyncio.FIRST_COMPLETED)
        (answering if answering.done() else asking).result()
    finally:
        for task in (answering, asking):
            task.cancel()
        await asyncio.gather(answering, asking, return_exceptions=True)


async def _ask(receive: Receive, channel: Channel, head: bytes, *, chunked: bool) -> None:
    """Sends the request, then waits for the visitor to leave: always ends with ``GoneError``."""
    with suppress(ConnectionError):  # a server may answer without having read it all
        await channel.write(head)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            more = message.get("more_body", False)
            if data := message.get("body"):
                await channel.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if chunked:
            await channel.write(b"0\r\n\r\n")
    while (await receive())["type"] != "http.disconnect":
        pass
    raise GoneError


async def _answer(
    channel: Channel,
    sender: Sender,
    *,
    method: str,
    given: Iterable[tuple[bytes, bytes]],
    patience: Patience,
) -> None:
    response = await _response(channel, method, patience)
    await sender.begin(response.status, [*headers.answered(response), *given])
    async with aclosing(pieces(channel, response)) as body:
        while piece := await _next(body, patience):
            await sender.piece(piece, more=True)
    await sender.piece(b"", more=False)


async def _next(body: AsyncGenerator[bytes, None], patience: Patience) -> bytes:
    async with asyncio.timeout(patience.idle):
        return await anext(body, b"")


async def _response(channel: Channel, method: str, patience: Patience) -> Response:
    await _begun(channel, patience)
    try:
        async with asyncio.timeout(patience.head):
            return await _final(channel, method)
    except TimeoutError as error:
        raise _late("began an answer and did not go on") from error
    except (ConnectionError, EOFError) as error:
        raise _bad("closed the connection in the middle of its answer") from error
    except RequestError as error:
        raise _bad(f"gave an answer that is no HTTP ({error.message})") from error


async def _begun(channel: Channel, patience: Patience) -> None:
    """Waits as long as the request still makes its way in."""
    while True:
        sent = channel.sent
        try:
            async with asyncio.timeout(patience.answer):
                if await channel.more():
                    return
        except ConnectionError as error:
            raise _bad("closed the connection without an answer") from error
        except TimeoutError as error:
            if channel.sent == sent:
                raise _late("has not answered in time") from error
        else:
            raise _bad("closed the connection without an answer")


async def _final(channel: Channel, method: str) -> Response:
    for _ in range(_INTERIM):
        response = parse_response(await read_head(channel), method=method)
        if response.status >= 200:
            return response
        if response.status == 101:
            raise RequestError("It changed the protocol, which nobody asked for.")
    raise RequestError("It said for too long that an answer is to come.")


def _bad(what: str) -> HostError:
    return HostError("bad_answer", f"What listens on the port {what}.")


def _late(what: str) -> HostError:
    return HostError("not_answering", f"What listens on the port {what}.")
