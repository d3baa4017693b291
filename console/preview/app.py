"""In front of the console's application: what comes by a preview's name goes no further."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse

from console.asgi_types import App, Receive, Scope, Send
from console.preview import headers
from console.preview.exchange import GoneError, Patience, Sender, exchange
from console.preview.guard import Admitted, admit
from console.preview.pages import refused
from console.preview.sockets import relay
from sandboxes.errors import InvalidRequest, PreviewNotFound, SandboxError
from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.limits import Limits
from sandboxes.host.port_client import PortClient
from sandboxes.host.types import HostError
from sandboxes.pausing import sandbox_awake
from sandboxes.preview_names import base_name, scheme
from sandboxes.previews import Preview, preview_find

#: Connections at once: of one sandbox, of one when most places are taken, and of all.
LIMITS: Final = Limits(per_sandbox=128, crowded_share=16, total=4000)
_TOLD: Final = (SandboxError, HostError, OperationalError, InterfaceError)
Connect = Callable[[Preview, Scope], Awaitable[socket.socket]]

log = logging.getLogger(__name__)


@lru_cache
def port_client() -> PortClient:
    """The host of this installation."""
    return PortClient(settings.ORKESTR_HOST_SOCKET)


async def _connect(preview: Preview, scope: Scope) -> socket.socket:
    """Wakes the sandbox first where it may. Raises ``SandboxError`` and ``HostError``."""
    visitor = preview.visitor
    await sandbox_awake(principal=visitor, target=preview.target, sandbox_id=preview.sandbox_id)
    address = headers.address_of(scope)
    return await port_client().connect(
        preview.sandbox_id, preview.port, address=address, actor=visitor.actor
    )


class Previews:
    """``app`` for every name that is not a preview's."""

    def __init__(
        self,
        app: App,
        *,
        connect: Connect = _connect,
        limits: Limits = LIMITS,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._app = app
        self._connect = connect
        self._places = _Places(limits.fitted())
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        label = preview_label(scope)
        if label is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(label, scope, receive, send)
        else:
            await self._serve_socket(label, scope, receive, send)

    async def _serve(self, label: str, scope: Scope, receive: Receive, send: Send) -> None:
        sender, port = Sender(send), None
        try:
            preview, admitted = await _opened(label, scope)
            port = preview.port
            if admitted.cookie is not None and _is_navigation(scope):
                await _whole(sender, _without_token(scope, admitted), scope)
                return
            with self._places.taken(preview):
                await self._pass_on(preview, admitted, scope, receive, sender)
        except _TOLD as error:
            await _told(sender, refused(error, scope, port=port), scope)
        except (ConnectionError, TimeoutError):
            await sender.abort()
        except GoneError:
            pass

    async def _pass_on(
        self, preview: Preview, admitted: Admitted, scope: Scope, receive: Receive, sender: Sender
    ) -> None:
        channel = await _channel(await self._connect(preview, scope))
        given = [(b"set-cookie", admitted.cookie)] if admitted.cookie else []
        try:
            await exchange(
                scope,
                receive,
                sender,
                channel,
                query=admitted.query,
                given=given,
                patience=self._patience,
            )
        finally:
            channel.abort()

    async def _serve_socket(self, label: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Refused without a reason: a browser shows none for a websocket."""
        await receive()
        try:
            preview, admitted = await _opened(label, scope)
            _check_origin(scope, admitted)
            with self._places.taken(preview):
                sock = await self._connect(preview, scope)
                await relay(scope, receive, send, sock, query=admitted.query)
        except _TOLD as error:
            log.info("A websocket of preview %s was refused: %s", label[:40], error)
            await send({"type": "websocket.close", "code": 1013})


async def _channel(sock: socket.socket) -> Channel:
    try:
        _, channel = await asyncio.get_running_loop().create_connection(Channel, sock=sock)
    except BaseException:
        sock.close()
        raise
    return channel


def preview_label(scope: Scope) -> str | None:
    """The part of the name before the base; None for the console's own names.

    A request that names a preview among several hosts is nobody's: it gets an empty label.
    """
    if not settings.ORKESTR_PREVIEW_BASE or scope["type"] not in {"http", "websocket"}:
        return None
    end = f".{base_name()}"
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    names = [_name_of(value) for value in hosts]
    found = [name for name in names if name.endswith(end) and name not in settings.ALLOWED_HOSTS]
    if not found:
        return None
    return found[0].removesuffix(end) if len(names) == 1 else ""


def is_preview(host: bytes) -> bool:
    """Whether a request for ``host`` is for a preview."""
    return preview_label({"type": "http", "headers": [(b"host", host)]}) is not None


def _name_of(host: bytes) -> str:
    return host.decode("latin1").partition(":")[0].rstrip(".").lower()


async def _opened(label: str, scope: Scope) -> tuple[Preview, Admitted]:
    """Raises ``SandboxError``. Whoever may not see a locked one learns nothing about it."""
    if not label:
        raise PreviewNotFound("There is no preview of this name; check the address.")
    preview = await preview_find(label)
    admitted = admit(preview, scope)
    preview.check()
    return preview, admitted


def _check_origin(scope: Scope, admitted: Admitted) -> None:
    """A page of somebody else's must not use the cookie of a browser that shows it."""
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    own = scheme().encode() + b"://" + headers.host_of(scope)
    if admitted.by_cookie and any(origin.lower() != own.lower() for origin in origins):
        raise InvalidRequest("This websocket was opened by another page.")


def _is_navigation(scope: Scope) -> bool:
    """Whether a browser shows the answer as a page, so that its address is seen and kept."""
    fields = dict(scope["headers"])
    mode = fields.get(b"sec-fetch-mode")
    by_accept = b"text/html" in fields.get(b"accept", b"")
    return scope["method"] in {"GET", "HEAD"} and (mode == b"navigate" if mode else by_accept)


def _without_token(scope: Scope, admitted: Admitted) -> HttpResponse:
    """To the same address without the token, with the cookie."""
    host, path = headers.host_of(scope).decode("latin1"), scope["raw_path"].decode("latin1")
    query = f"?{admitted.query.decode('latin1')}" if admitted.query else ""
    response = HttpResponse(status=303)
    response["Location"] = f"{scheme()}://{host}{path}{query}"
    response["Set-Cookie"] = (admitted.cookie or b"").decode()
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    response["Content-Length"] = "0"
    return response


async def _told(sender: Sender, response: HttpResponse, scope: Scope) -> None:
    if sender.has_begun:
        await sender.abort()
    else:
        await _whole(sender, response, scope)


async def _whole(sender: Sender, response: HttpResponse, scope: Scope) -> None:
    pairs = [(name.lower().encode(), value.encode("latin1")) for name, value in response.items()]
    await sender.begin(response.status_code, pairs)
    await sender.piece(b"" if scope["method"] == "HEAD" else response.content, more=False)


class _Places:
    """How many connections there are, by sandbox."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: dict[str, int] = {}
        self._all = 0

    @contextmanager
    def taken(self, preview: Preview) -> Iterator[None]:
        """One of them. Raises ``HostError`` (busy)."""
        name = preview.sandbox_id
        mine = self._taken.get(name, 0)
        if not self._limits.admits(mine=mine, everyone=self._all):
            message = "The sandbox has as many connections to its previews as it may; close some."
            raise HostError("busy", message)
        self._taken[name] = mine + 1
        self._all += 1
        try:
            yield
        finally:
            self._all -= 1
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
