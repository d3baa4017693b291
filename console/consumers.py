"""The console's sockets: the timeline of one sandbox, and lists that keep themselves current."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.http import QueryDict
from django.utils import timezone

from accounts.announce import CONTROL, account_group, session_mark
from accounts.database import in_database
from accounts.models import User
from accounts.policy import Principal, Scope, allows
from console import boards
from console.signed_in import principal_in_session
from sandboxes.errors import InvalidRequest, SandboxNotFound
from sandboxes.selectors import sandbox_for
from timeline.consumers import TimelineConsumer

SIGNED_OUT = 4401
FORBIDDEN = 4403
SETTLE_SECONDS = 0.25


async def principal_of_scope(scope: dict[str, Any]) -> Principal | None:
    """Who opened a socket, by their session; None when nobody is signed in."""
    user = scope.get("user")
    if user is None or not user.is_authenticated:
        return None
    found: User = user
    return await in_database(_principal, found, scope["session"])


def _principal(user: User, session: SessionBase) -> Principal | None:
    return principal_in_session(User.objects.get(pk=user.pk), session)


def session_lives(scope: Mapping[str, Any]) -> bool:
    """Whether the session that opened a socket is still good for a page."""
    key = scope["session"].session_key
    return Session.objects.filter(session_key=key, expire_date__gt=timezone.now()).exists()


def is_this_session(scope: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether a control message tells of the end of the session that opened a socket."""
    if message["type"] != "session.ended":
        return False
    return bool(message["session"] == session_mark(scope["session"].session_key))


def is_about(scope: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether a control message tells of another role, or none, for who opened a socket."""
    return bool(message["type"] == "member.changed" and message["user_id"] == scope["user"].pk)


class SandboxTimeline(TimelineConsumer):
    """The timeline of one sandbox, for people of its account."""

    async def connect(self) -> None:
        """A session that has ended is told apart from a sandbox that is not there."""
        if await principal_of_scope(self.scope) is not None:
            await super().connect()
            return
        await self.accept()
        await self.close(code=SIGNED_OUT)

    async def authorize(self, sandbox_id: str) -> bool:
        """Someone else's sandbox is as good as none."""
        principal = await principal_of_scope(self.scope)
        if principal is None or not allows(principal, Scope.SANDBOXES_READ):
            return False
        if not await in_database(session_lives, self.scope):
            return False
        try:
            await in_database(sandbox_for, principal=principal, sandbox_id=sandbox_id)
        except SandboxNotFound:
            return False
        return True

    async def ended_by(self, message: Mapping[str, Any]) -> str | None:
        """Signing out ends what that session watches, wherever it is open; so does leaving."""
        if is_about(self.scope, message) and not await self.authorize(self.sandbox_id):
            return "ended"
        return "signed_out" if is_this_session(self.scope, message) else None


class SandboxLists(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
    """Renders the list again whenever a sandbox of the account changes.

    Changes are gathered for a moment, for longer where rendering takes long, and nothing is sent
    when the list looks the same after them.
    The first rendering goes out at once, so that what changed before the socket was open shows.
    """

    groups: ClassVar[list[str]] = [CONTROL]
    user: User
    query: QueryDict
    shown: str = ""
    took: float = 0.0
    group: str | None = None
    pending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Refuse who is not signed in; closing after accepting is what lets the page know why."""
        await self.accept()
        principal = await principal_of_scope(self.scope)
        if principal is None:
            await self.close(code=SIGNED_OUT)
            return
        if not allows(principal, Scope.SANDBOXES_READ):
            await self.close(code=FORBIDDEN)
            return
        self.query = QueryDict(self.scope["query_string"])
        self.group = account_group(principal.account_id)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self._render()

    async def disconnect(self, code: int) -> None:
        """Stop listening."""
        if self.pending is not None:
            self.pending.cancel()
        if self.group is not None:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """Control messages that are about something else are passed over."""
        if is_this_session(self.scope, message):
            await self.close(code=SIGNED_OUT)
        elif is_about(self.scope, message):
            await self._look_again()
        elif message["type"].startswith("websocket.") or message["type"] == "sandbox.changed":
            await super().dispatch(message)

    async def _look_again(self) -> None:
        """Whoever left the account sees no more of it; another role sees what it may."""
        principal = await principal_of_scope(self.scope)
        if principal is None or account_group(principal.account_id) != self.group:
            await self.close(code=FORBIDDEN)
            return
        self.shown = ""
        await self._render()

    async def sandbox_changed(self, message: dict[str, Any]) -> None:
        """``accounts.announce`` says that a sandbox of this account is not what it was."""
        if self.pending is None or self.pending.done():
            self.pending = asyncio.create_task(self._soon())

    async def _soon(self) -> None:
        await asyncio.sleep(max(SETTLE_SECONDS, 9 * self.took))
        self.pending = None
        await self._render()

    async def _render(self) -> None:
        principal = await principal_of_scope(self.scope)
        if principal is None:
            await self.close(code=SIGNED_OUT)
            return
        began = time.monotonic()
        try:
            html = await in_database(self._html, principal)
            self.took = time.monotonic() - began
        except InvalidRequest:
            await self.close(code=FORBIDDEN)
            return
        if html != self.shown:
            self.shown = html
            await self.send(text_data=html)

    def _html(self, principal: Principal) -> str:
        base = self._base()
        filters = boards.filters_from(self.query)
        return boards.board_push(principal=principal, filters=filters, base=base)

    def _base(self) -> str:
        """The address the browser used, as its page shows it."""
        headers: dict[bytes, bytes] = dict(self.scope["headers"])
        return headers.get(b"origin", b"").decode("latin1")
