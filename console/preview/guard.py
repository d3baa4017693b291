"""Whether a visitor may see a preview, and what the sandbox is not to see of how it was shown.

A link carries the token once. A browser that follows it gets a cookie of that one host instead, and
is sent to the address without the token, so that it stands in no history and no ``Referer``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from django.conf import settings

from console.asgi_types import Scope
from sandboxes.errors import PreviewLocked
from sandboxes.preview_names import QUERY, preview_cookie, preview_token, same, scheme
from sandboxes.previews import Preview

TOKEN_HEADER: Final = b"x-orkestr-preview-token"
_COOKIE: Final = b"ork_preview"
#: Browsers keep a cookie of this name to the host that set it, whatever a neighbour tries.
_SECURE_COOKIE: Final = b"__Host-ork_preview"
_COOKIE_SECONDS: Final = 12 * 3600
_QUERY: Final = QUERY.encode()


@dataclass(frozen=True, slots=True)
class Admitted:
    """``query`` is the visitor's without the token; ``cookie`` what to give, with it or without;
    ``by_cookie`` when that is what opened it."""

    query: bytes
    cookie: bytes | None = None
    by_cookie: bool = False


def own_cookies() -> frozenset[bytes]:
    """Names that a sandbox neither sees nor sets."""
    console = (settings.SESSION_COOKIE_NAME.encode(), settings.CSRF_COOKIE_NAME.encode())
    return frozenset({_COOKIE, _SECURE_COOKIE, *console})


def admit(preview: Preview, scope: Scope) -> Admitted:
    """Raises ``PreviewLocked``."""
    query, linked = without_token(scope["query_string"])
    if not preview.asks_for_token:
        return Admitted(query)
    shown = {name: value for name, value in scope["headers"] if name in {TOKEN_HEADER, b"cookie"}}
    if same(shown.get(TOKEN_HEADER, b""), preview_token(preview.sandbox_id)):
        return Admitted(query)
    if linked is not None and same(linked, preview_token(preview.sandbox_id)):
        return Admitted(query, cookie=_given(preview))
    kept = dict(pair.partition(b"=")[::2] for pair in cookies(shown.get(b"cookie", b"")))
    good = preview_cookie(preview.sandbox_id, preview.port)
    if same(kept.get(_name(), b""), good):
        return Admitted(query, by_cookie=True)
    raise PreviewLocked(
        "This preview asks for its token: open the link that has it, or send it as "
        "X-Orkestr-Preview-Token."
    )


def without_token(query: bytes) -> tuple[bytes, bytes | None]:
    """The query as it came but for the token, and the token."""
    parts = query.split(b"&")
    found = [part for part in parts if part.partition(b"=")[0] == _QUERY]
    rest = b"&".join(part for part in parts if part.partition(b"=")[0] != _QUERY)
    return rest, unquote_to_bytes(found[-1].partition(b"=")[2]) if found else None


def cookies(header: bytes) -> list[bytes]:
    """``name=value`` of each."""
    return [pair for each in header.split(b";") if (pair := each.strip())]


def _given(preview: Preview) -> bytes:
    """Over https it also works where a page of somebody else's shows the preview in a frame."""
    secure = b"; Secure; SameSite=None; Partitioned" if _is_secure() else b"; SameSite=Lax"
    value = preview_cookie(preview.sandbox_id, preview.port).encode()
    ends = b"; Path=/; Max-Age=%d; HttpOnly" % _COOKIE_SECONDS
    return _name() + b"=" + value + ends + secure


def _name() -> bytes:
    return _SECURE_COOKIE if _is_secure() else _COOKIE


def _is_secure() -> bool:
    return scheme() == "https"
