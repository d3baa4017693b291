"""Previews that ask for a token: by header, by link, by cookie, and by nothing else."""

from __future__ import annotations

import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from tests.console.preview.conftest import PORT, Visitor, serve

COOKIE = "ork_preview"
QUERY = "ork_preview_token"
TOKEN = "x-orkestr-preview-token"
BROWSER = {"accept": "text/html", "sec-fetch-mode": "navigate"}


@pytest.fixture
def locked(sandbox_client: OrkestrClient) -> Sandbox:
    return Sandbox.create(template="python-3.12-bare", preview_auth=True, client=sandbox_client)


def test_without_its_token_it_is_closed_also_to_who_is_signed_in(
    locked: Sandbox, visitor: Visitor, token: str
) -> None:
    host = serve(locked)
    assert locked.preview_auth is True
    assert locked.preview_auth_token
    assert Sandbox.get(locked.id).preview_auth_token == locked.preview_auth_token
    other = Sandbox.create(template="python-3.12-bare", preview_auth=True)
    for headers in (
        {},
        {TOKEN: ""},
        {TOKEN: "guess"},
        {TOKEN: other.preview_auth_token or ""},
        {TOKEN: token},
        {"authorization": f"Bearer {token}"},
        {"cookie": f"{COOKIE}={locked.preview_auth_token}"},
        {"cookie": f"{COOKIE}="},
    ):
        answer = visitor.at(host, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.json()["code"] == "preview_token_needed"
    assert visitor.at(host, f"/?{QUERY}=guess").status_code == 401
    assert "asks for its token" in visitor.at(host, headers={"accept": "text/html"}).text
    locked.terminate()
    assert visitor.at(host).status_code == 401, "a stranger learns nothing of how it stands"
    assert visitor.at(host, headers={TOKEN: locked.preview_auth_token}).status_code == 410


def test_a_program_sends_the_token_and_the_sandbox_does_not_see_it(
    locked: Sandbox, visitor: Visitor
) -> None:
    host, token = serve(locked), locked.preview_auth_token or ""
    by_header = visitor.at(host, "/x?a=1", headers={TOKEN: token})
    by_query = visitor.at(host, f"/x?a=1&{QUERY}={token}", method="POST", content=b"body")
    assert (by_header.json()["size"], by_query.json()["size"]) == (0, 4)
    for answer in (by_header, by_query):
        assert answer.status_code == 200
        assert answer.json()["target"] == "/x?a=1"
        assert token not in answer.text


def test_a_link_opens_in_a_browser_once_turned_into_a_cookie_of_that_host(
    locked: Sandbox, visitor: Visitor
) -> None:
    host = serve(locked)
    link = locked.preview_url(PORT)
    assert link == f"https://{host}?{QUERY}={locked.preview_auth_token}"
    path = f"//x/?a=1&{QUERY}={locked.preview_auth_token}&b=2"
    moved = visitor.at(host, headers=BROWSER, extensions={"target": path.encode()})
    assert (moved.status_code, moved.headers["location"]) == (303, f"http://{host}//x/?a=1&b=2")
    assert moved.headers["referrer-policy"] == "no-referrer"
    name, _, rest = moved.headers["set-cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert name == COOKIE
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    assert "domain" not in rest.lower()
    assert value != locked.preview_auth_token
    visitor.cookies.clear()
    kept = {"cookie": f"a=1; {COOKIE}={value}"}
    seen = visitor.at(host, headers=kept)
    assert (seen.status_code, seen.json()["headers"]["cookie"]) == (200, "a=1")
    assert visitor.at(locked.get_host(PORT + 1), headers=kept).status_code == 401
    assert visitor.at(host, f"/?{QUERY}={value}").status_code == 401, "a cookie is no token"


def test_a_fork_has_a_token_of_its_own(locked: Sandbox) -> None:
    snapshot = locked.snapshot("base")
    fork = Sandbox.create(snapshot=snapshot.id, preview_auth=True)
    assert fork.preview_auth_token not in {None, locked.preview_auth_token}
