"""Heads of HTTP messages, parsed so strictly that no two readers can disagree about them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sandboxes.host.egress import domains

HEAD_LIMIT = 16 * 1024
FIELDS_LIMIT = 100

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_START = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\Z")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\0")
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?\Z")
_AUTHORITY_END = re.compile(r"[/?]")
#: Fields that speak of one hop only and are never passed on.
HOP_FIELDS = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer "
    b"upgrade http2-settings".split()
)

Fields = tuple[tuple[bytes, bytes], ...]


class RequestError(Exception):
    """A message that is not passed on. ``reason`` is for machines, the message for people."""

    def __init__(self, message: str, *, status: int = 400, reason: str = "bad_request") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a request asks for. ``host`` is a normalised name or an IP address."""

    scheme: Literal["connect", "http"]
    host: str
    port: int
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """A proxy request in HTTP/1.``minor``. ``keep``: the client wants the connection kept."""

    method: str
    target: Target
    fields: Fields
    minor: int
    keep: bool


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an origin's answer. ``length`` is ``None`` when the end must be found otherwise.

    ``chunked`` says how; neither means that the end of the connection is the end of the body.
    """

    status: int
    reason: bytes
    fields: Fields
    length: int | None
    chunked: bool
    keep: bool


def stray(data: bytes | bytearray, start: int = 0) -> bool:
    """Whether there is a line end other than CR LF, or a NUL, at or after ``start``."""
    return _STRAY.search(data, start) is not None


def parse_request(head: bytes) -> Request:
    """``head`` up to but without the empty line. Raises ``RequestError``."""
    lines = _lines(head)
    start = _START.match(lines[0])
    if start is None:
        raise RequestError("The request line is malformed.")
    method, raw, minor = start[1].decode(), start[2], start[3]
    fields = _fields(lines[1:])
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1:
        raise RequestError("The request names more than one host.", reason="smuggling")
    _no_body(fields)
    target = _connect_target(raw) if method == "CONNECT" else _absolute_target(raw)
    if hosts:
        _same_host(hosts[0], target)
    return Request(method, target, fields, int(minor), _keeps(fields, minor))


def parse_response(head: bytes, *, method: str) -> Response:
    """The same for an origin's answer to ``method``."""
    lines = _lines(head)
    start = _STATUS.match(lines[0])
    if start is None:
        raise RequestError("The status line is malformed.")
    fields = _fields(lines[1:])
    length, chunked = _framing(fields)
    status = int(start[2])
    if method == "HEAD" or status < 200 or status in {204, 304}:
        length, chunked = 0, False
    return Response(status, start[3] or b"", fields, length, chunked, _keeps(fields, start[1]))


def forwarded(fields: Fields) -> Fields:
    """``fields`` without those of the hop, including the ones that Connection names."""
    named = {
        word.strip().lower()
        for name, value in fields
        if name == b"connection"
        for word in value.split(b",")
    }
    drop = HOP_FIELDS | (named - {b"host", b"content-length", b"transfer-encoding"})
    return tuple((name, value) for name, value in fields if name not in drop)


def _lines(head: bytes) -> list[bytes]:
    if stray(head):
        raise RequestError("Lines must end with CR LF.", reason="smuggling")
    return head.split(b"\r\n")


def _fields(lines: list[bytes]) -> Fields:
    if len(lines) > FIELDS_LIMIT:
        raise RequestError("There are too many header fields.", status=431, reason="head_too_large")
    found = []
    for line in lines:
        field = _FIELD.match(line)
        if field is None:
            raise RequestError("A header field is malformed.", reason="smuggling")
        found.append((field[1].lower(), field[2]))
    return tuple(found)


def _no_body(fields: Fields) -> None:
    """Only requests without a body pass: then nothing can hide in one."""
    length, chunked = _framing(fields)
    if chunked or length:
        raise RequestError("Requests through this proxy carry no body.", reason="body")


def _framing(fields: Fields) -> tuple[int | None, bool]:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings and lengths:
        raise RequestError("Content-Length and Transfer-Encoding contradict.", reason="smuggling")
    if len(lengths) > 1 or any(not _LENGTH.match(value) for value in lengths):
        raise RequestError("Content-Length is not one number.", reason="smuggling")
    if codings and [value.lower() for value in codings] != [b"chunked"]:
        raise RequestError("Transfer-Encoding is not just chunked.", reason="smuggling")
    return (int(lengths[0]) if lengths else None), bool(codings)


def _keeps(fields: Fields, minor: bytes) -> bool:
    words = {
        word.strip().lower()
        for name, value in fields
        if name in {b"connection", b"proxy-connection"}
        for word in value.split(b",")
    }
    return b"close" not in words and (minor == b"1" or b"keep-alive" in words)


def _connect_target(raw: bytes) -> Target:
    host, port = _authority(_text(raw))
    if port is None:
        raise RequestError("CONNECT needs a host and a port.")
    return Target("connect", host, port)


def _absolute_target(raw: bytes) -> Target:
    text = _text(raw)
    if not text.lower().startswith("http://"):
        raise RequestError(
            "This is a proxy: it takes CONNECT host:port and GET http://host/path, nothing else."
        )
    if "#" in text:
        raise RequestError("An address in a request has no fragment.")
    authority = _AUTHORITY_END.split(text[7:], maxsplit=1)[0]
    path = text[7 + len(authority) :]
    host, port = _authority(authority)
    return Target("http", host, port or 80, (path if path.startswith("/") else f"/{path}").encode())


def _authority(text: str) -> tuple[str, int | None]:
    """Host and port of ``host``, ``host:port`` or ``[v6]:port``. User names are refused."""
    parts = _AUTHORITY.match(text)
    port = int(parts[2]) if parts and parts[2] else None
    if parts is None or port == 0 or (port or 0) > 65535:
        raise RequestError("The host and port in the request are malformed.")
    return _host(parts[1]), port


def _host(text: str) -> str:
    if text and (address := domains.ip_literal(text)) is not None:
        return address
    try:
        return domains.host_name(text)
    except domains.BadNameError as error:
        raise RequestError(str(error), reason="bad_name") from error


def _same_host(field: bytes, target: Target) -> None:
    host, port = _authority(_text(field))
    if host != target.host or (port is not None and port != target.port):
        message = "The Host field and the request line name different hosts."
        raise RequestError(message, reason="smuggling")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RequestError("The address in the request is not UTF-8.") from error
