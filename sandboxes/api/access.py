"""Who is calling: the bearer token, what it may do, and the sandbox that the address names.

One query answers all three, before anything of the body is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone
from ninja.security.base import AuthBase

from accounts.origin import Origin, origin_of
from accounts.policy import Principal, Scope, require
from accounts.services import token_touch
from accounts.tokens import Parsed, Refused, parse, verify
from accounts.uses import beside
from sandboxes.selectors import SANDBOX_ID, Target, admission

_SCHEME: Final = "bearer "


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
    _note_use(found.principal, found.target, origin)
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


def _note_use(principal: Principal, target: Target | None, origin: Origin) -> None:
    """When it was last used and in what, written beside the request."""
    token_id = principal.token_id or ""
    beside(("token", token_id), partial(token_touch, token_id=token_id, origin=origin))
    if target is not None and target.token_id != token_id:
        beside(("touch", token_id, target.id), partial(_touched, token_id, target.id))


_TOUCHED: Final = """
INSERT INTO sandboxes_tokentouch (token_id, sandbox_id, first_at, last_at)
VALUES (%s, %s, now(), now())
ON CONFLICT (token_id, sandbox_id) DO UPDATE SET last_at = EXCLUDED.last_at
"""


def _touched(token_id: str, sandbox_id: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_TOUCHED, [token_id, sandbox_id])
