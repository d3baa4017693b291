"""Who is calling: the bearer token, what it may do, and the sandbox that the address names.

One query answers all three, before anything of the body is looked at.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog
from django.http import HttpRequest
from django.utils import timezone
from ninja.security.base import AuthBase

from accounts.database import in_database
from accounts.origin import Origin, origin_of
from accounts.policy import Principal, Scope, require
from accounts.services import TOUCH_EVERY, token_touch
from accounts.tokens import Parsed, Refused, parse, verify
from sandboxes.selectors import SANDBOX_ID, Target, admission

_SCHEME: Final = "bearer "
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """What every route gets as ``request.auth``. ``target`` is None for a sandbox not found."""

    principal: Principal
    target: Target | None
    origin: Origin


class ApiRequest(HttpRequest):
    """A request that has passed ``Bearer``."""

    auth: Call


class Bearer(AuthBase):
    """Asks for a token with one scope. The scope is part of the route, so none is forgotten.

    Without one any good token will do: for what a token may know of itself.
    """

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "A token from the console, sent as `Authorization: Bearer ork_…`."

    def __init__(self, scope: Scope | None) -> None:
        super().__init__()
        self.scope = scope
        self.is_async = True

    async def __call__(self, request: HttpRequest) -> Any:
        """The ``Call``. Raises ``Refused`` and ``Forbidden``."""
        return await admitted(
            authorization=request.META.get("HTTP_AUTHORIZATION", ""),
            sandbox_id=_sandbox_id(request.path_info),
            origin=origin_of(request),
            scope=self.scope,
        )


async def admitted(
    *, authorization: str, sandbox_id: str | None, origin: Origin, scope: Scope | None = None
) -> Call:
    """Whose header this is. Raises ``Refused``, and ``Forbidden`` when ``scope`` is not granted.

    Without ``scope`` it is for the caller to ask for one, once it knows what is wanted.
    """
    presented = _presented(authorization)
    if sandbox_id is not None and not SANDBOX_ID.fullmatch(sandbox_id):
        sandbox_id = None
    found = await admission(presented=presented, sandbox_id=sandbox_id)
    stored = found.stored if found else None
    verify(presented, stored, address=origin.address, now=timezone.now())
    if found is None:
        raise Refused("This token is not known here.")
    if scope is not None:
        require(found.principal, scope)
    structlog.contextvars.bind_contextvars(account_id=found.principal.account_id)
    _note_use(found.principal, origin)
    return Call(found.principal, found.target, origin)


READ: Final = Bearer(Scope.SANDBOXES_READ)
WRITE: Final = Bearer(Scope.SANDBOXES_WRITE)


def _presented(header: str) -> Parsed:
    if not header[: len(_SCHEME)].lower() == _SCHEME:
        raise Refused("Send a token: Authorization: Bearer ork_… (mint one in the console).")
    presented = parse(header[len(_SCHEME) :].strip())
    if presented is None:
        raise Refused("This is not a token of this platform; copy it again, all 50 characters.")
    return presented


def _sandbox_id(path: str) -> str | None:
    """``/v1/sandboxes/<id>/…`` → the id, or what stands in its place."""
    parts = path.split("/", 4)
    return parts[3] if len(parts) > 3 else None


_noted: dict[str, float] = {}
_writing: set[asyncio.Task[None]] = set()


def _note_use(principal: Principal, origin: Origin) -> None:
    """Last used is written beside the request, not in it, and not for every one."""
    token_id = principal.token_id or ""
    now = time.monotonic()
    if now - _noted.get(token_id, -1e9) < TOUCH_EVERY.total_seconds():
        return
    if len(_noted) >= _REMEMBERED:
        _noted.clear()
    _noted[token_id] = now
    task = asyncio.create_task(in_database(token_touch, token_id=token_id, origin=origin))
    _writing.add(task)
    task.add_done_callback(_written)


def _written(task: asyncio.Task[None]) -> None:
    _writing.discard(task)
    if not task.cancelled():
        task.exception()  # a database that is away says so in the request itself
