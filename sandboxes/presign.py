"""Links that carry one file: who has one may fetch or send that file, until it expires.

A link names the method, the sandbox, the path, its last second and who made it, a token or a member
of the account, and is signed over all five; nothing about it is stored. It is good only while its
maker is, so revoking the token, or ending the membership, ends its links too.
"""

from __future__ import annotations

import base64
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

import orjson
from django.conf import settings
from django.utils.crypto import salted_hmac

from accounts.asking import asker
from accounts.database import in_database
from accounts.models import User
from accounts.policy import TOKEN_ROLE, Principal, Scope, require
from accounts.selectors import principal_of_user
from sandboxes.errors import BadLink, InvalidRequest
from sandboxes.limits import check_path
from sandboxes.models import Sandbox
from sandboxes.selectors import SANDBOX_ID, Target
from timeline.events import Actor

PREFIX: Final = "/files/"
EXPIRES_MIN: Final = 60
EXPIRES_MAX: Final = 3600
Method = Literal["GET", "PUT"]
_PERSON: Final = "person:"
_SALT: Final = "sandboxes.presign"
_SCOPES: Final[dict[Method, Scope]] = {"GET": Scope.SANDBOXES_READ, "PUT": Scope.SANDBOXES_WRITE}

_HOLDER: Final = """
SELECT t.account_id, t.name, t.lookup, t.scopes, s.id, s.status, s.reason, s.auto_resume
FROM accounts_token t
LEFT JOIN sandboxes_sandbox s ON s.id = %s AND s.account_id = t.account_id
WHERE t.id = %s AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
"""


@dataclass(frozen=True, slots=True)
class Link:
    """What one link allows. ``expires`` in Unix seconds; ``maker`` is a token's id, or a person's
    with their account's."""

    method: Method
    sandbox_id: str
    path: str
    expires: int
    maker: str

    def signature(self) -> str:
        fields = [self.method, self.sandbox_id, self.path, self.expires, self.maker]
        digest = salted_hmac(_SALT, orjson.dumps(fields), algorithm="sha256").digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @property
    def address(self) -> str:
        """Without the origin, for a page that has one."""
        place = PREFIX + self.sandbox_id + quote(self.path, safe="/")
        query = {"expires": self.expires, "by": self.maker, "signature": self.signature()}
        return f"{place}?{urlencode(query)}"

    @property
    def url(self) -> str:
        return settings.ORKESTR_BASE_URL + self.address

    @property
    def expires_at(self) -> str:
        return datetime.fromtimestamp(self.expires, tz=UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Opened:
    """A good link, for whom it acts, and its sandbox as it stands."""

    link: Link
    principal: Principal
    target: Target | None


def link_make(
    *, principal: Principal, sandbox_id: str, method: Method, path: str, expires_in: int
) -> Link:
    """Raises ``InvalidRequest`` for a path that an address would not keep as it is, ``Forbidden``
    without the scope."""
    require(principal, _SCOPES[method])
    check_path(path)
    if not EXPIRES_MIN <= expires_in <= EXPIRES_MAX:
        raise InvalidRequest(f"expires_in must be from {EXPIRES_MIN} to {EXPIRES_MAX} seconds.")
    if {"", ".", ".."} & set(path[1:].split("/")):
        raise InvalidRequest(
            "path must name a file plainly, without //, /./ and /../, and end in its name."
        )
    maker = principal.token_id or f"{_PERSON}{principal.user_id}:{principal.account_id}"
    return Link(method, sandbox_id, path, int(time.time()) + expires_in, maker)


async def link_open(*, method: str, raw_path: bytes, query: bytes) -> Opened:
    """A link as it came back, HEAD by one for GET. Raises ``BadLink``."""
    link = _checked("GET" if method == "HEAD" else method, raw_path, query)
    if link.maker.startswith(_PERSON):
        return await in_database(_by_person, link)
    row = await asker().row(_HOLDER, [link.sandbox_id, link.maker])
    if row is None:
        raise BadLink("The token that made this link was revoked or has expired; ask for another.")
    account_id, name, lookup, scopes, *target = row
    principal = Principal(
        account_id=account_id,
        actor=Actor("token", id=link.maker, name=name, prefix=f"ork_{lookup}"),
        scopes=frozenset(scopes),
        role=TOKEN_ROLE,
        token_id=link.maker,
    )
    require(principal, _SCOPES[link.method])
    return Opened(link, principal, Target(*target) if target[0] is not None else None)


def _by_person(link: Link) -> Opened:
    """For whoever made it, as their role is now."""
    user_id, _, account_id = link.maker.removeprefix(_PERSON).partition(":")
    user = User.objects.filter(pk=user_id, is_active=True).first()
    principal = principal_of_user(user=user, account_id=account_id) if user else None
    if principal is None:
        raise BadLink("Whoever made this link is no member of the account any more.")
    require(principal, _SCOPES[link.method])
    row = Sandbox.objects.filter(id=link.sandbox_id, account_id=account_id).first()
    target = Target(row.id, row.status, row.reason, row.auto_resume) if row else None
    return Opened(link, principal, target)


def _checked(method: str, raw_path: bytes, query: bytes) -> Link:
    link, signature = _read(method, raw_path, query)
    if not hmac.compare_digest(link.signature().encode(), signature.encode()):
        raise _changed()
    if link.expires < time.time():
        raise BadLink("This link has expired; ask whoever gave it to you for another.")
    return link


def _read(method: str, raw_path: bytes, query: bytes) -> tuple[Link, str]:
    """Whatever it says, unbelieved."""
    try:
        place = unquote_to_bytes(raw_path[len(PREFIX) :]).decode()
        fields = dict(parse_qsl(query.decode("ascii"), strict_parsing=True, max_num_fields=8))
        expires, maker, signature = fields["expires"], fields["by"], fields["signature"]
    except (ValueError, KeyError):
        raise _changed() from None
    sandbox_id, path = place[:30], place[30:]
    is_plain = expires.isascii() and expires.isdigit() and len(expires) < 12
    if method not in _SCOPES or not SANDBOX_ID.fullmatch(sandbox_id) or not is_plain:
        raise _changed()
    kind: Method = "GET" if method == "GET" else "PUT"
    return Link(kind, sandbox_id, path, int(expires), maker), signature


def _changed() -> BadLink:
    return BadLink("This link is not as it was made; use it unchanged, with the method it is for.")
