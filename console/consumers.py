"""Who opened a socket, what ends it, and the socket of one sandbox's timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.announce import session_mark
from accounts.database import in_database
from accounts.models import User
from accounts.policy import Principal, Scope, allows
from console.signed_in import principal_in_session
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
