"""The wall's websocket: frames of JSON down, nothing up.

``all``: every row as HTML, their order, the counters. ``some``: the same of what changed, with
single ``cells`` of rows that stay. ``beat``: nothing changed for a while. ``behind``: the database
cannot be read, what is shown is old. ``state`` is ``full``, ``still`` (nothing runs) or ``new``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from channels.generic.websocket import AsyncWebsocketConsumer

from accounts.announce import CONTROL
from accounts.database import in_database
from accounts.policy import ROLE_SCOPES, Principal, Scope, allows
from console.consumers import (
    FORBIDDEN,
    SIGNED_OUT,
    is_this_session,
    principal_of_scope,
    session_lives,
)
from console.standing import Standing, watch
from console.wall.hub import get_walls

log = logging.getLogger(__name__)


class FleetWall(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
    """What runs in the account of whoever is signed in."""

    groups: ClassVar[list[str]] = [CONTROL]
    _standing: Standing | None = None
    _serving: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept first, so that a refusal reaches the page as a code it can read."""
        await self.accept()
        principal = await principal_of_scope(self.scope)
        if principal is None or not await in_database(session_lives, self.scope):
            await self.close(code=SIGNED_OUT)
        elif not allows(principal, Scope.SANDBOXES_READ):
            await self.close(code=FORBIDDEN)
        else:
            self._enter(principal)

    def _enter(self, principal: Principal) -> None:
        self._standing = Standing(
            session_key=self.scope["session"].session_key or "",
            user_id=principal.user_id or 0,
            account_id=principal.account_id,
            role=principal.role,
            changed=self._role_changed,
        )
        watch.add(self._standing)
        self._serving = asyncio.create_task(self._serve(principal.account_id))

    async def disconnect(self, code: int) -> None:
        """The socket is gone, whoever closed it."""
        if self._standing is not None:
            watch.remove(self._standing)
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """Signing out ends what that session watches; other control messages are passed over."""
        if is_this_session(self.scope, message):
            await self.close(code=SIGNED_OUT)
        elif message["type"].startswith("websocket."):
            await super().dispatch(message)

    async def _role_changed(self, role: str | None) -> None:
        if role is None:
            await self.close(code=SIGNED_OUT)
        elif Scope.SANDBOXES_READ not in ROLE_SCOPES.get(role, frozenset()):
            await self.close(code=FORBIDDEN)

    async def _serve(self, account_id: str) -> None:
        try:
            with get_walls().watch(account_id) as viewer:
                while True:
                    await self.send(text_data=await viewer.next())
        except Exception:
            log.exception("The fleet wall of %s ended; its viewer comes back", account_id)
            await self.close(code=1011)
