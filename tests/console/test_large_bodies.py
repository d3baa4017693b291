"""Large bodies at the API's doors, over a socket: nobody's is read before the token is judged."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from accounts.services import token_revoke
from console.large_bodies import LARGE_BYTES, WITHOUT_TOKEN
from tests.cast import Cast
from tests.stack import Stack

LENGTH = 20_000_000
MCP = "/api/sandboxes/mcp"
ROUTES = (
    "/v1/sandboxes",
    "/v1/sandboxes/sbx_01J00000000000000000000000/files/write",
    "/api/v1/api-tokens",
    MCP,
    "/v1/nowhere",
)


def answered(stack: Stack, path: str, *fields: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and text of what comes for headers, and no more than ``body`` of what they announce.

    The server waits 30 seconds and more for a body, this for less.
    """
    where = urlsplit(stack.url)
    lines = (f"POST {path} HTTP/1.1", f"host: {where.netloc}", *fields, "", "")
    with socket.create_connection((where.hostname, where.port), timeout=25) as peer:
        peer.sendall("\r\n".join(lines).encode() + body)
        text = b""
        while b"}" not in text and (piece := peer.recv(65536)):
            text += piece
    found = re.match(rb"HTTP/1.1 (\d+) ", text)
    assert found is not None, text
    return int(found[1]), text


def bearer(text: str) -> str:
    return f"authorization: Bearer {text}"


@pytest.mark.parametrize("size", [f"content-length: {LENGTH}", "transfer-encoding: chunked"])
def test_a_token_that_is_no_good_is_refused_before_its_body_comes(
    stack: Stack, account: Cast, size: str
) -> None:
    gone = account.mint()
    token_revoke(principal=account.principal(), token_id=gone.token.id)
    for path in ROUTES:
        for field in ("x-nothing: here", bearer("ork_nonsense"), bearer(gone.text)):
            status, text = answered(stack, path, field, size)
            assert status == 401, (path, field)
            assert b"www-authenticate: bearer" in text.lower()
            assert b"connection: close" in text.lower()
            assert b"x-request-id" in text.lower()


def test_what_is_asked_without_a_token_takes_no_large_body(stack: Stack) -> None:
    assert "/api/auth/device/" in WITHOUT_TOKEN
    for path in ("/api/auth/device/start", "/api/auth/device/token", "/healthz"):
        status, text = answered(stack, path, f"content-length: {LENGTH}")
        assert status == 413, path
        assert b"64 KiB" in text


def test_a_good_token_is_waited_for_and_its_body_is_read_whole(stack: Stack, token: str) -> None:
    size = f"content-length: {LARGE_BYTES + 100}"
    with pytest.raises(TimeoutError):
        _soon(stack, bearer(token), size)
    body = b'{"template": "%s"}' % (b"x" * LARGE_BYTES)
    headers = {"Authorization": f"Bearer {token}", "content-type": "application/json"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=30) as client:
        told = client.post("/v1/sandboxes", content=body)
        assert told.status_code == 422
        assert "template" in told.json()["detail"]
        in_chunks = client.post("/v1/sandboxes", content=iter([body[:5000], body[5000:]]))
        assert in_chunks.json() == told.json()


def test_chunks_beyond_the_limit_are_refused_as_they_come(stack: Stack, token: str) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for path in ("/v1/sandboxes", MCP):
        fields = (bearer(token), "transfer-encoding: chunked")
        assert answered(stack, path, *fields, body=chunk * 25)[0] == 413, path


def _soon(stack: Stack, *fields: str) -> None:
    where = urlsplit(stack.url)
    with socket.create_connection((where.hostname, where.port), timeout=1) as peer:
        lines = ("POST /v1/sandboxes HTTP/1.1", f"host: {where.netloc}", *fields, "", "")
        peer.sendall("\r\n".join(lines).encode())
        peer.recv(65536)
