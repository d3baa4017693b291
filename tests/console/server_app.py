"""A small ASGI application behind the real server, for the tests of console/server.py."""

from __future__ import annotations

import asyncio
import json
import sys

from daphne.server import Server  # noqa: F401  # isort:skip  # first: it chooses Twisted's reactor
from console.asgi_types import Receive, Scope, Send
from console.interim import Interim
from console.request_ids import RequestIds
from console.server import ConsoleServer, endpoint_of
from timeline.extensions import WRITE

MIB = 1024 * 1024
BODY_LIMIT = 2 * MIB
_CHUNK = b"x" * (64 * 1024)
_started = {"slow": 0, "sipped": 0, "left": 0}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        if scope["path"] == "/written/":
            await _write(scope, receive, send)
        else:
            await _flood(receive, send)
        return
    name, _, number = scope["path"].strip("/").partition("/")
    await _ANSWERS[name](receive, send, int(number or 0))


async def _stream(_: Receive, send: Send, mebibytes: int) -> None:
    """So many MiB, as fast as the reader takes them."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _chunk in range(mebibytes * 16):
        await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
    await send({"type": "http.response.body"})


async def _slow(_: Receive, send: Send, tenths: int) -> None:
    """An answer that takes so many tenths of a second."""
    _started["slow"] += 1
    await asyncio.sleep(tenths / 10)
    await _json(send, {"waited": tenths})


async def _size(receive: Receive, send: Send, _number: int) -> None:
    """How many bytes of body arrived."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await _json(send, {"size": size})


async def _sip(receive: Receive, send: Send, tenths: int) -> None:
    """Takes the first piece, waits so long, takes the rest; notes who leaves before the end."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            _started["left"] += 1
            return
        if not size:
            _started["sipped"] += 1
            await asyncio.sleep(tenths / 10)
        size += len(message["body"])
        more = message["more_body"]
    await _json(send, {"size": size})


async def _deny(_: Receive, send: Send, _number: int) -> None:
    """An answer without a look at the body."""
    await _json(send, {"denied": True})


async def _abort(_: Receive, send: Send, _number: int) -> None:
    """Half an answer."""
    headers = [(b"content-length", b"%d" % (2 * len(_CHUNK)))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
    await send({"type": "http.response.abort"})


async def _counts(_: Receive, send: Send, _number: int) -> None:
    await _json(send, _started)


async def _json(send: Send, value: object) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _flood(receive: Receive, send: Send) -> None:
    """Waits for a number of MiB, then sends them in frames of 64 KiB, then a text frame."""
    await receive()
    await send({"type": "websocket.accept"})
    mebibytes = int((await receive())["text"])
    for _chunk in range(mebibytes * 16):
        await send({"type": "websocket.send", "bytes": _CHUNK})
    await send({"type": "websocket.send", "text": "done"})
    await receive()


async def _write(scope: Scope, receive: Receive, send: Send) -> None:
    """Like ``_flood`` in numbered texts, each written at once where the server takes it so."""
    write = scope["extensions"][WRITE]
    await receive()
    refused_early = not write(b"before the handshake")
    await send({"type": "websocket.accept"})
    count = int((await receive())["text"]) * 16
    written = 0
    for number in range(count):
        text = f"{number} é".ljust(64 * 1024 - 1)
        if write(text.encode()):
            written += 1
        else:
            await send({"type": "websocket.send", "text": text})
    told = {"written": written, "count": count, "refused_early": refused_early}
    await send({"type": "websocket.send", "text": json.dumps(told)})
    await receive()
    _started["left"] += not write(b"after the end")


_ANSWERS = {
    "stream": _stream,
    "slow": _slow,
    "size": _size,
    "counts": _counts,
    "sip": _sip,
    "deny": _deny,
    "abort": _abort,
}

if __name__ == "__main__":
    ConsoleServer(
        RequestIds(Interim(application, every_seconds=0.3)),
        endpoint=endpoint_of(host="127.0.0.1", port=int(sys.argv[1]), unix=""),
        body_limit=BODY_LIMIT,
        is_streamed=lambda method, path, host: (
            method == b"PUT" and path.startswith((b"/sip", b"/deny"))
        ),
    ).run()
