"""Signed links to files of sandboxes, straight from ASGI: of no file more than a piece is held."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse

from accounts.policy import Forbidden
from console.asgi_types import Receive, Scope, Send
from console.ranges import Asked, File
from sandboxes.api.errors import Answer, answer_for, failure
from sandboxes.api.replies import reply
from sandboxes.api.watch import watched
from sandboxes.errors import SandboxError
from sandboxes.host.transfer_client import Incoming, Outgoing, TransferClient
from sandboxes.host.types import HostError
from sandboxes.pausing import sandbox_awake
from sandboxes.presign import Opened, link_open

#: A message of ``console/server.py``: the answer cannot be finished, so its connection is ended.
ABORT: Final = {"type": "http.response.abort"}
_METHODS: Final = ("GET", "HEAD", "PUT")
_TOLD: Final = (SandboxError, Forbidden, HostError, OperationalError, InterfaceError)


class GoneError(Exception):
    """The caller has left, or its token was revoked meanwhile."""


@lru_cache
def transfer_client() -> TransferClient:
    """The host of this installation."""
    return TransferClient(settings.ORKESTR_HOST_SOCKET)


class Transfers:
    """The ASGI application below ``/files/``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = _Sender(send, head_only=scope["method"] == "HEAD")
        try:
            await _serve(scope, receive, sender)
        except GoneError:
            await send(ABORT)
        except _TOLD as error:
            await (send(ABORT) if sender.has_begun else sender.whole(answer_for(error)))


class _Sender:
    """An answer's way out. ``has_begun`` when it is too late for another one."""

    def __init__(self, send: Send, *, head_only: bool) -> None:
        self._send = send
        self.head_only = head_only
        self.has_begun = False

    async def whole(self, response: HttpResponse) -> None:
        await self.head(response.status_code, dict(response.items()))
        await self.piece(b"" if self.head_only else response.content, more=False)

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.has_begun = True
        pairs = [(name.lower().encode(), value.encode("latin1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def piece(self, body: bytes, *, more: bool) -> None:
        """Waits while the peer is behind."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def _serve(scope: Scope, receive: Receive, sender: _Sender) -> None:
    method, headers = scope["method"], dict(scope["headers"])
    if method not in _METHODS:
        allowed = ", ".join(_METHODS)
        refusal = failure(Answer(405), f"{method[:20]} is not allowed here; use {allowed}.")
        refusal["Allow"] = allowed
        return await sender.whole(refusal)
    opened = await link_open(method=method, raw_path=scope["raw_path"], query=scope["query_string"])
    await sandbox_awake(
        principal=opened.principal, target=opened.target, sandbox_id=opened.link.sandbox_id
    )
    if method == "PUT":
        return await sender.whole(await _take(opened, headers, receive))
    asked = Asked.of(headers)
    if sender.head_only:
        return await _describe(opened, asked, sender)
    with watched(opened.principal) as ended:
        await _unless_gone(_give(opened, asked, sender), receive, ended)


# ---- up ----------------------------------------------------------------------------------------


async def _take(opened: Opened, headers: Mapping[bytes, bytes], receive: Receive) -> HttpResponse:
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or len(length) > 18:
        return failure(Answer(411, "length_required"), "Send Content-Length, the file's size.")
    link, actor, client = opened.link, opened.principal.actor, transfer_client()
    with watched(opened.principal) as ended:
        async with client.upload(
            link.sandbox_id, link.path, size=int(length), actor=actor
        ) as going:
            await _pass_on(receive, going, ended)
            written = await going.finish()
    return reply({"path": link.path, "bytes_written": written})


async def _pass_on(receive: Receive, going: Outgoing, ended: asyncio.Event) -> None:
    """Each piece is with the host before the next is taken, which slows its sender down."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect" or ended.is_set():
            raise GoneError
        if message.get("body"):
            await going.put(message["body"])
        more = message.get("more_body", False)


# ---- down --------------------------------------------------------------------------------------


async def _describe(opened: Opened, asked: Asked, sender: _Sender) -> None:
    """HEAD, which is no event: nothing of the file is read."""
    file = await _stat(opened)
    part = file.part(asked)
    if part is None:
        return await sender.whole(_no_part(file))
    await _begin(file, part, sender)
    await sender.piece(b"", more=False)


async def _stat(opened: Opened) -> File:
    link = opened.link
    stat = await transfer_client().stat(link.sandbox_id, link.path, actor=opened.principal.actor)
    if not stat.exists:
        raise HostError("no_such_file", f"There is no {link.path}; check the path.")
    if stat.is_dir:
        raise HostError("is_directory", f"{link.path} is a directory; name a file.")
    return File(link.path, stat.size, stat.modified_at)


async def _give(opened: Opened, asked: Asked, sender: _Sender) -> None:
    """Where a part begins depends on the size, so one that is asked for costs a look before."""
    link, actor, client = opened.link, opened.principal.actor, transfer_client()
    part = (await _stat(opened)).part(asked) if asked.range else (0, None)
    offset = part[0] if part else 0
    async with client.download(link.sandbox_id, link.path, offset=offset, actor=actor) as coming:
        file = File(link.path, coming.size, coming.modified_at)
        now = file.part(asked)
        if now is None or now[0] != offset:
            return await sender.whole(_no_part(file))
        await _begin(file, now, sender)
        await _stream(coming, now[1], sender)


async def _stream(coming: Incoming, left: int, sender: _Sender) -> None:
    """Raises ``GoneError`` when the file was cut short meanwhile: its reader must not be told that
    this was all."""
    while left > 0:
        piece = (await coming.next())[:left]
        if not piece:
            raise GoneError
        left -= len(piece)
        await sender.piece(piece, more=left > 0)


async def _begin(file: File, part: tuple[int, int], sender: _Sender) -> None:
    offset, length = part
    status = 200 if length == file.size else 206
    await sender.head(status, file.headers(offset=offset, length=length))
    if not length:
        await sender.piece(b"", more=False)


def _no_part(file: File) -> HttpResponse:
    answer = failure(Answer(416, "no_such_part"), f"The file has {file.size} bytes; ask for those.")
    answer["Content-Range"] = f"bytes */{file.size}"
    return answer


async def _unless_gone(
    work: Coroutine[Any, Any, None], receive: Receive, ended: asyncio.Event
) -> None:
    """``work`` to its end. Raises ``GoneError`` when the caller leaves or its token is revoked."""
    working = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(_left(receive)), asyncio.ensure_future(ended.wait())]
    try:
        await asyncio.wait([working, *others], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise GoneError
        working.result()
    finally:
        for task in (working, *others):
            task.cancel()
        await asyncio.gather(working, *others, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
