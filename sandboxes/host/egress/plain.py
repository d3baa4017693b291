"""Plain HTTP through the proxy, for registries that are not served over TLS.

GET and HEAD without a body only. A server's connection is used again while the client stays with
the same host; every request is judged by itself before it comes here.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from sandboxes.host.egress import request
from sandboxes.host.egress.body import pieces
from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.relay import read_head
from sandboxes.host.egress.request import Request, RequestError, Response

if TYPE_CHECKING:
    from sandboxes.host.egress.session import Session

_METHODS = frozenset({"GET", "HEAD"})
#: Interim answers (1xx) before the real one.
_INTERIM = 8


class _StaleError(Exception):
    """A kept connection that its server had closed: the request may be sent again."""


async def forward(session: Session, head: Request) -> bool:
    """Pass one judged request on and its answer back. True when the client may send another.

    Raises ``RequestError`` and ``DialError`` while the client has seen nothing, and
    ``ConnectionError`` or ``EOFError`` after.
    """
    if head.method not in _METHODS:
        message = "Only GET and HEAD pass over plain HTTP. Use https."
        raise RequestError(message, status=405, reason="method")
    if _kept(session, head) is not None:
        try:
            return await _exchange(session, head, fresh=False)
        except _StaleError:
            session.drop()
    else:
        session.drop()
    await session.dial(head.target)
    return await _exchange(session, head, fresh=True)


def _kept(session: Session, head: Request) -> Channel | None:
    """The open connection to the same server, if it is fit for use."""
    connection = session.connection
    if connection is None or connection.upstream is None:
        return None
    upstream, old = connection.upstream, connection.target
    same = (old.host, old.port) == (head.target.host, head.target.port)
    # Bytes that nobody asked for would be taken for the next answer.
    idle = not (upstream.pending or upstream.ended or upstream.broken)
    return upstream if same and idle else None


async def _exchange(session: Session, head: Request, *, fresh: bool) -> bool:
    connection = session.connection
    if connection is None or connection.upstream is None:
        raise ConnectionResetError("the connection was lost")
    upstream = connection.upstream
    if not await _answered(upstream, head):
        raise _broken(head) if fresh else _StaleError
    response = await _response(upstream, head)
    delimited = response.chunked or response.length is not None
    keep = head.keep and delimited
    await session.client.write(_response_head(response, keep=keep))
    await _body(upstream, session.client, response)
    if not (response.keep and delimited):
        session.drop()
    if not keep:
        await session.client.finish()
    return keep


async def _answered(upstream: Channel, head: Request) -> bool:
    """Send the request and wait for the first byte of the answer. False when none comes."""
    try:
        await upstream.write(_request_head(head))
        return await upstream.more()
    except ConnectionError:
        return False


async def _response(upstream: Channel, head: Request) -> Response:
    for _ in range(_INTERIM):
        try:
            response = request.parse_response(await read_head(upstream), method=head.method)
        except (ConnectionError, EOFError) as error:
            raise _broken(head) from error
        except RequestError as error:
            raise _bad(f"{head.target.host} gave an unusable answer. {error.message}") from error
        if response.status >= 200:
            return response
        if response.status == 101:
            break
    raise _bad(f"{head.target.host} gave an answer nobody asked for.")


def _broken(head: Request) -> RequestError:
    return _bad(f"{head.target.host} closed the connection without an answer.")


def _bad(message: str) -> RequestError:
    return RequestError(message, status=502, reason="bad_response")


def _request_head(head: Request) -> bytes:
    """The request as an origin server reads it, with the Host that was judged and no other."""
    target = head.target
    host = f"[{target.host}]" if ":" in target.host else target.host
    authority = host if target.port == 80 else f"{host}:{target.port}"
    lines = [
        head.method.encode() + b" " + target.path + b" HTTP/1.%d" % head.minor,
        b"Host: " + authority.encode(),
    ]
    skip = {b"host", b"content-length", b"transfer-encoding"}
    fields = request.forwarded(head.fields)
    lines += [name + b": " + value for name, value in fields if name not in skip]
    lines.append(b"Connection: " + (b"keep-alive" if head.keep else b"close"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _response_head(response: Response, *, keep: bool) -> bytes:
    lines = [b"HTTP/1.1 %d " % response.status + response.reason]
    lines += [name + b": " + value for name, value in request.forwarded(response.fields)]
    lines.append(b"Connection: " + (b"keep-alive" if keep else b"close"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _body(source: Channel, sink: Channel, response: Response) -> None:
    """Chunks are written anew, without extensions and trailers. A malformed one cuts both."""
    async with aclosing(pieces(source, response)) as body:
        async for piece in body:
            whole = b"%x\r\n%b\r\n" % (len(piece), piece) if response.chunked else piece
            await sink.write(whole)
    if response.chunked:
        await sink.write(b"0\r\n\r\n")
