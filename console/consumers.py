"""Who opened a socket, what ends it, and the socket of one sandbox's timeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.announce import session_mark
from accounts.database import in_database
from accounts.models import User
from accounts.policy import Principal, Scope, allows
from console.signed_in import principal_in_session
from console.standing import Standing, watch
from sandboxes.errors import SandboxNotFound
from sandboxes.selectors import sandbox_for
from timeline.consumers import TimelineConsumer

SIGNED_OUT = 4401
FORBIDDEN = 4403


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


def standing_of(
    scope: Mapping[str, Any], principal: Principal, changed: Callable[[str | None], Awaitable[None]]
) -> Standing:
    """Of who opened a socket, for ``standing.watch``; ``changed`` as there."""
    return Standing(
        session_key=scope["session"].session_key or "",
        user_id=principal.user_id or 0,
        account_id=principal.account_id,
        role=principal.role,
        changed=changed,
    )


class SandboxTimeline(TimelineConsumer):
    """The timeline of one sandbox, for people of its account."""

    _standing: Standing | None = None

    async def connect(self) -> None:
        """A session that has ended is told apart from a sandbox that is not there."""
        principal = await principal_of_scope(self.scope)
        if principal is None:
            await self.accept()
            await self.close(code=SIGNED_OUT)
            return
        await super().connect()
        if self.is_serving:
            self._standing = standing_of(self.scope, principal, self._role_changed)
            watch.add(self._standing)

    async def disconnect(self, code: int) -> None:
        """The socket is gone, whoever closed it."""
        if self._standing is not None:
            watch.remove(self._standing)
        await super().disconnect(code)

    async def _role_changed(self, role: str | None) -> None:
        """Whoever may not look any more, or is not signed in any more, sees no further row."""
        if role is None or not await self.authorize(self.sandbox_id):
            await self.end("ended")

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
