"""Who may do what. Pages, the API, sockets and tasks all ask here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from accounts.uses import scope_used
from timeline.events import Actor


class Scope(StrEnum):
    """What can be allowed. ``TOKEN_SCOPES`` can be granted to tokens, the rest to people only."""

    SANDBOXES_READ = "sandboxes:read"
    SANDBOXES_WRITE = "sandboxes:write"
    TOKENS_READ = "tokens:read"
    TOKENS_WRITE = "tokens:write"
    TOKENS_ADMIN = "tokens:admin"
    MEMBERS_WRITE = "members:write"
    PLAN_WRITE = "plan:write"
    AUDIT_READ = "audit:read"
    SETTINGS_WRITE = "settings:write"


USUAL_SCOPES = (Scope.SANDBOXES_READ, Scope.SANDBOXES_WRITE)
"""What code that uses sandboxes needs, and what a form offers first."""

TOKEN_SCOPES = (*USUAL_SCOPES, Scope.TOKENS_READ, Scope.TOKENS_WRITE, Scope.AUDIT_READ)
"""What a token can be minted with."""

_VIEWER = frozenset({Scope.SANDBOXES_READ, Scope.TOKENS_READ, Scope.AUDIT_READ})
_OPERATOR = _VIEWER | {Scope.SANDBOXES_WRITE, Scope.TOKENS_WRITE}
_OWNER = _OPERATOR | {
    Scope.TOKENS_ADMIN,
    Scope.MEMBERS_WRITE,
    Scope.PLAN_WRITE,
    Scope.SETTINGS_WRITE,
}

ROLE_SCOPES: dict[str, frozenset[Scope]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "owner": _OWNER,
}
"""The most that each role may do, whatever was granted beside it."""

TOKEN_ROLE = "operator"  # noqa: S105 - the name of a role
"""A token acts like an operator, within its scopes."""


class Forbidden(Exception):  # noqa: N818 - the word of the field
    """Signed in, but not allowed. The message is a sentence that says what is missing."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, for which account. Exactly one of ``token_id`` and ``user_id`` is set."""

    account_id: str
    actor: Actor
    scopes: frozenset[str]
    role: str
    token_id: str | None = None
    user_id: int | None = None


def allows(principal: Principal, scope: str) -> bool:
    """Whether the grant and the role both cover ``scope``."""
    return scope in principal.scopes and scope in ROLE_SCOPES.get(principal.role, ())


def require(principal: Principal, scope: str) -> None:
    """Raise ``Forbidden`` unless ``principal`` may do ``scope`` in its own account.

    That an object belongs to the account is the selector's part: a foreign one is never found.
    """
    if allows(principal, scope):
        if principal.token_id is not None:
            scope_used(principal.token_id, scope)
        return
    if principal.token_id is not None:
        raise Forbidden(
            f"This token does not have the scope {scope}. Mint one that does in the console."
        )
    raise Forbidden(
        f"Your role in this account ({principal.role}) does not allow this. Ask an owner."
    )
