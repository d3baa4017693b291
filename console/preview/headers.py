"""Heads of messages on their way between a visitor and a sandbox.

What speaks of one hop only stays on it. The console's cookies, the preview's token and tokens of
the platform never reach the sandbox, and a sandbox sets cookies for its own host alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from console.asgi_types import Scope
from console.preview.guard import TOKEN_HEADER, cookies, own_cookies
from sandboxes.errors import InvalidRequest
from sandboxes.host.egress.request import Fields, Response, forwarded
from sandboxes.preview_names import scheme

_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_PATH: Final = re.compile(rb"/[\x21-\x7e]*")
_QUERY: Final = re.compile(rb"[\x21-\x7e]*")
_PLATFORM_TOKEN: Final = re.compile(rb"bearer +ork_", re.IGNORECASE)
#: Written anew: they say what this server knows, not what a visitor claims.
_OURS: Final = frozenset(
    b"host content-length transfer-encoding expect forwarded x-forwarded-for x-forwarded-host "
    b"x-forwarded-port x-forwarded-proto x-real-ip".split()
) | {TOKEN_HEADER}
#: Of an answer: framing is this server's, and no other service answers for the host.
_DROPPED: Final = frozenset({b"transfer-encoding", b"alt-svc"})


def length_of(scope: Scope) -> bytes | None:
    """Of a request's body: digits, ``chunked`` when it is told at its end, None without one."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        return b"chunked"
    if len(lengths) > 1 or any(not value.isdigit() for value in lengths):
        raise InvalidRequest("Content-Length must be one number.")
    return lengths[0] if lengths else None


def request_head(scope: Scope, *, query: bytes) -> bytes:
    """As the server in the sandbox reads it. Raises ``InvalidRequest``."""
    method, path = scope["method"], scope["raw_path"]
    if not (_METHOD.fullmatch(method) and _PATH.fullmatch(path) and _QUERY.fullmatch(query)):
        raise InvalidRequest("The request line is not one that can be passed on.")
    target = path + (b"?" + query if query else b"")
    length = length_of(scope)
    framing = {None: [], b"chunked": [(b"Transfer-Encoding", b"chunked")]}.get(
        length, [(b"Content-Length", length or b"")]
    )
    fields = [(b"Host", host_of(scope)), *passed_on(scope), *told(scope), *framing]
    lines = [method.encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in [*fields, (b"Connection", b"close")]]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def host_of(scope: Scope) -> bytes:
    """As the visitor typed it. Routing has seen that there is exactly one."""
    host: bytes = next(value for name, value in scope["headers"] if name == b"host")
    return host


def passed_on(scope: Scope) -> Fields:
    """The visitor's fields that are the sandbox's business."""
    kept = []
    for name, came in forwarded(tuple(scope["headers"])):
        value = _cookie(came) if name == b"cookie" else came
        if name in _OURS or (not value and name == b"cookie"):
            continue
        if name == b"authorization" and _PLATFORM_TOKEN.match(value):
            continue
        kept.append((name, value))
    return tuple(kept)


def told(scope: Scope) -> Fields:
    """Where the visitor came from and how."""
    host = host_of(scope)
    port = host.rpartition(b":")[2] if b":" in host else _port()
    return (
        (b"X-Forwarded-For", address_of(scope).encode()),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Port", port),
        (b"X-Forwarded-Proto", scheme().encode()),
    )


def address_of(scope: Scope) -> str:
    """The visitor's."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def answered(response: Response) -> Iterable[tuple[bytes, bytes]]:
    """The sandbox's fields that are the visitor's business."""
    for name, came in forwarded(response.fields):
        if name in _DROPPED or (name == b"content-length" and response.status == 204):
            continue
        value = _set_cookie(came) if name == b"set-cookie" else came
        if value or name != b"set-cookie":
            yield name, value


def _cookie(value: bytes) -> bytes:
    own = own_cookies()
    return b"; ".join(pair for pair in cookies(value) if pair.partition(b"=")[0] not in own)


def _set_cookie(value: bytes) -> bytes:
    """For this host only; empty for one that is not the sandbox's to set."""
    pair, *attributes = value.split(b";")
    if pair.partition(b"=")[0].strip() in own_cookies():
        return b""
    kept = [one for one in attributes if one.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([pair, *kept])


def _port() -> bytes:
    return b"443" if scheme() == "https" else b"80"
