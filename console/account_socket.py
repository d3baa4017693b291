"""A socket that shows something of an account, for as long as its person may see it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from channels.generic.websocket import AsyncWebsocketConsumer

from accounts.announce import CONTROL
from accounts.database import in_database
from accounts.policy import Principal, Scope, allows
from console.consumers import (
    FORBIDDEN,
    SIGNED_OUT,
    is_about,
    is_this_session,
    principal_of_scope,
    session_lives,
    standing_of,
)
from console.standing import Standing, watch

log = logging.getLogger(__name__)


class AccountSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
    """Down only. Ends when the session does, or its person has left the account."""

    groups: ClassVar[list[str]] = [CONTROL]
    _standing: Standing | None = None
    _serving: asyncio.Task[None] | None = None

    @abstractmethod
    async def serve(self, principal: Principal) -> None:
        """Send what there is to see, until cancelled. Begins anew where the role changes."""

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
        self._standing = standing_of(self.scope, principal, self._role_changed)
        watch.add(self._standing)
        self._serving = asyncio.create_task(self._serve(principal))

    async def disconnect(self, code: int) -> None:
        """The socket is gone, whoever closed it."""
        if self._standing is not None:
            watch.remove(self._standing)
        await self._stop()

    async def _stop(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """What ends a session, or changes a role, holds at once; the rest is passed over."""
        if is_this_session(self.scope, message):
            await self.close(code=SIGNED_OUT)
        elif is_about(self.scope, message):
            await self._look_again()
        elif message["type"].startswith("websocket."):
            await super().dispatch(message)

    async def _role_changed(self, role: str | None) -> None:
        if role is None:
            await self.close(code=SIGNED_OUT)
        else:
            await self._look_again()

    async def _look_again(self) -> None:
        """Another role sees what it may; whoever left the account sees no more of it."""
        if self._standing is None:
            return
        principal = await principal_of_scope(self.scope)
        is_here = principal is not None and principal.account_id == self._standing.account_id
        if principal is None or not is_here or not allows(principal, Scope.SANDBOXES_READ):
            await self.close(code=FORBIDDEN)
            return
        self._standing.role = principal.role
        await self._stop()
        self._serving = asyncio.create_task(self._serve(principal))

    async def _serve(self, principal: Principal) -> None:
        try:
            await self.serve(principal)
        except Exception:
            log.exception("A page of %s is told no more; it comes back", principal.account_id)
            await self.close(code=1011)
