"""The socket of one terminal: keys in, output out, and who drives.

Binary messages are bytes of the terminal, in either direction; text is JSON. The host keeps each
watcher's place, so nothing is buffered here. With the host away the page is told, and it goes on
when the host is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

import orjson
from channels.generic.websocket import AsyncWebsocketConsumer

from accounts.announce import CONTROL, account_group
from accounts.database import in_database
from accounts.origin import origin_of_scope
from accounts.policy import ROLE_SCOPES, Principal, Scope, allows
from console.consumers import (
    FORBIDDEN,
    SIGNED_OUT,
    is_this_session,
    principal_of_scope,
    standing_of,
)
from console.standing import Standing, watch
from sandboxes.errors import SandboxError, SandboxNotFound
from sandboxes.host.terminals.client import Attendance
from sandboxes.host.terminals.types import Size, Visitor
from sandboxes.host.types import HostError
from sandboxes.host.wire import Frame
from sandboxes.selectors import sandbox_for
from sandboxes.terminals import terminal_awake, terminal_client, terminal_taken

MALFORMED: Final = 4400
NOT_FOUND: Final = 4404
CLOSED: Final = 4410
#: Bytes of one message, and of keys that wait for a sandbox to wake up.
LONGEST: Final = 64 * 1024
RETRY_SECONDS: Final = 0.25
_FORWARDED: Final = ("size", "people")

log = logging.getLogger(__name__)


class TerminalSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
    """``/ws/sandboxes/<sandbox_id>/terminals/<terminal_id>/?seat=…``."""

    groups: ClassVar[list[str]] = [CONTROL]
    principal: Principal
    sandbox_id: str
    terminal_id: str
    seat: str
    page: str
    _group: str | None = None
    _standing: Standing | None = None
    _serving: asyncio.Task[None] | None = None
    _waking: asyncio.Task[None] | None = None
    _attendance: Attendance | None = None
    _held: list[bytes]
    _sent = 0  # bytes that this page was sent, and how many of them before the host's count began
    _sent_before = 0
    _in_step = False  # whether the page has said from where on it types, to this attendance

    async def connect(self) -> None:
        """Accept first, so that a refusal reaches the page as a code it can read."""
        await self.accept()
        self._held = []
        arguments = self.scope["url_route"]["kwargs"]
        self.sandbox_id, self.terminal_id = arguments["sandbox_id"], arguments["terminal_id"]
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        self.seat = query.get("seat", [""])[-1]
        self.page = query.get("page", [""])[-1]
        principal = await principal_of_scope(self.scope)
        if principal is None:
            await self.close(code=SIGNED_OUT)
            return
        self.principal = principal
        code = await self._refusal()
        if code is not None:
            await self.close(code=code)
            return
        await self._enter()

    async def _refusal(self) -> int | None:
        if not allows(self.principal, Scope.SANDBOXES_READ):
            return FORBIDDEN
        try:
            await self._say_status()
        except SandboxNotFound:
            return NOT_FOUND
        return None

    async def _enter(self) -> None:
        self._group = account_group(self.principal.account_id)
        await self.channel_layer.group_add(self._group, self.channel_name)
        self._standing = standing_of(self.scope, self.principal, self._role_changed)
        watch.add(self._standing)
        self._serving = asyncio.create_task(self._serve())

    async def disconnect(self, code: int) -> None:
        """The socket is gone, whoever closed it."""
        if self._standing is not None:
            watch.remove(self._standing)
        await self._stop(self._serving)
        await self._stop(self._waking)
        if self._group is not None:
            await self.channel_layer.group_discard(self._group, self.channel_name)

    async def _stop(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """Keys touch no database: they are spared the hop to a thread that tidies connections."""
        if message["type"] == "websocket.receive":
            await self.websocket_receive(message)
        elif message["type"].startswith("websocket."):
            await super().dispatch(message)
        elif is_this_session(self.scope, message):
            await self.close(code=SIGNED_OUT)
        elif message["type"] == "sandbox.changed" and message["sandbox_id"] == self.sandbox_id:
            with contextlib.suppress(SandboxNotFound):
                await self._say_status()

    # ---- to the page --------------------------------------------------------------------------

    async def _say(self, what: str, **fields: Any) -> None:
        await self.send(text_data=orjson.dumps({"t": what, **fields}).decode())

    async def _say_status(self) -> None:
        row = await in_database(sandbox_for, principal=self.principal, sandbox_id=self.sandbox_id)
        await self._say(
            "status",
            status=row.status,
            wakes=row.auto_resume,
            may_drive=allows(self.principal, Scope.SANDBOXES_WRITE),
        )

    async def _role_changed(self, role: str | None) -> None:
        """Whoever may not type any more goes on as one who watches."""
        if role is None:
            await self.close(code=SIGNED_OUT)
            return
        scopes = frozenset(ROLE_SCOPES.get(role, frozenset()))
        self.principal = replace(self.principal, role=role, scopes=scopes)
        if not allows(self.principal, Scope.SANDBOXES_READ):
            await self.close(code=FORBIDDEN)
            return
        await self._stop(self._serving)
        self._attendance = None
        await self._say_status()
        self._serving = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            while True:
                try:
                    await self._attend()
                except HostError as error:
                    if error.code != "host_unreachable":
                        await self._over(error)
                        return
                    await self._say("away")
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return
        except Exception:
            log.exception("The terminal %s ended; its page comes back", self.terminal_id)
            await self.close(1011)

    async def _over(self, error: HostError) -> None:
        await self._say("over", code=error.code, message=error.message)
        await self.close(CLOSED)

    async def _attend(self) -> None:
        """Until the terminal is closed. Raises ``HostError``."""
        drives = allows(self.principal, Scope.SANDBOXES_WRITE)
        visitor = Visitor(self.principal.actor, drives, self.seat, self.page)
        client = terminal_client()
        async with client.terminal_attend(self.sandbox_id, self.terminal_id, visitor) as attendance:
            self._sent_before, self._in_step = self._sent, not self.page
            self._attendance = attendance
            try:
                while await self._pass_on(await attendance.next()):
                    pass
            finally:
                self._attendance = None

    async def _pass_on(self, frame: Frame) -> bool:
        """One word of the host's, for the page; False after the last one."""
        header = frame.header
        kind = header.get("kind")
        if kind == "output":
            await self._show(frame.payload)
        elif kind == "screen":
            await self._say("screen", skipped=header["skipped"])
            await self._show(frame.payload)
        elif kind == "typed":
            await self._say("typed", bytes=header["bytes"], fresh=header.get("fresh", False))
        elif kind == "refused":
            await self._returned(frame.payload, header["message"])
        elif kind in _FORWARDED:
            await self._say(kind, **{name: header[name] for name in header if name != "kind"})
        elif kind == "closed":
            lost, how = header.get("lost", False), header.get("exit_code")
            await self._say("closed", lost=lost, exit_code=how, signal=header.get("signal"))
            await self.close(CLOSED)
            return False
        return True

    async def _show(self, data: bytes) -> None:
        if data:
            self._sent += len(data)
            await self.send(bytes_data=data)

    # ---- from the page ------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Keys, or ``{"t": "ack" | "from" | "resize" | "take", …}``."""
        try:
            if bytes_data is not None:
                await self._keys(bytes_data)
            elif not await self._hear(_parsed(text_data)):
                await self.close(MALFORMED)
        except HostError as error:
            if error.code != "host_unreachable":
                await self.close(MALFORMED)

    async def _keys(self, data: bytes) -> None:
        if len(data) > LONGEST:
            await self.close(MALFORMED)
        elif self._held:
            self._hold(data)
        elif not self._in_step:
            return  # the page says them again, in order, once it knows how far it had come
        elif self._attendance is not None and allows(self.principal, Scope.SANDBOXES_WRITE):
            await self._attendance.type(data)

    async def _hear(self, said: Mapping[str, Any]) -> bool:
        attendance = self._attendance
        match said:
            case {"t": "ack", "bytes": int(count)}:
                count = min(count, self._sent) - self._sent_before
                if attendance is not None and count > 0:
                    await attendance.acknowledge(count)
            case {"t": "resize", "rows": int(rows), "columns": int(columns)}:
                size = Size(rows, columns)
                if attendance is not None:
                    await attendance.resize(size)
            case {"t": "from", "bytes": int(count)}:
                if attendance is not None:
                    await attendance.type_from(count)
                    self._in_step = True
            case {"t": "take"}:
                if attendance is not None and allows(self.principal, Scope.SANDBOXES_WRITE):
                    await attendance.take_over()
                    await in_database(
                        terminal_taken,
                        principal=self.principal,
                        sandbox_id=self.sandbox_id,
                        terminal_id=self.terminal_id,
                        origin=origin_of_scope(self.scope),
                    )
            case _:
                return False
        return True

    # ---- keys for a paused sandbox ------------------------------------------------------------

    def _hold(self, data: bytes) -> None:
        if sum(map(len, self._held)) + len(data) <= LONGEST:
            self._held.append(data)

    async def _returned(self, data: bytes, message: str) -> None:
        """The sandbox is paused: it is woken when it may be, and typed into then."""
        is_first = not self._held
        self._hold(data)
        if is_first:
            self._waking = asyncio.create_task(self._wake(message))

    async def _wake(self, message: str) -> None:
        try:
            await terminal_awake(principal=self.principal, sandbox_id=self.sandbox_id)
        except (SandboxError, HostError) as error:
            self._held = []
            await self._say("refused", message=message)
            log.info("The sandbox %s is not woken by a key: %s", self.sandbox_id, error)
            return
        held, self._held = b"".join(self._held), []
        if self._attendance is not None:
            with contextlib.suppress(HostError):
                await self._attendance.type(held)


def _parsed(text: str | None) -> Mapping[str, Any]:
    if text is None or len(text) > 512:
        return {}
    try:
        said = orjson.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
