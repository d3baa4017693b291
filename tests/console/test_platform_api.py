"""/api: logins of devices, and tokens by tokens."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from accounts.devices import (
    LIFETIME,
    REQUESTS,
    WAITING,
    device_approve,
    device_refuse,
    device_start,
)
from accounts.models import DeviceLogin, Token
from accounts.origin import Origin, origin
from accounts.policy import USUAL_SCOPES, Principal
from accounts.services import audit_record, member_add
from console.platform_api import api
from sandboxes.api.access import Bearer
from tests.cast import Cast
from tests.stack import Stack


def start(*, address: str = "192.0.2.7") -> tuple[DeviceLogin, str]:
    began = device_start(client_name="a laptop", origin=Origin(address))
    return began.login, began.device_code


def approve(login: DeviceLogin, principal: Principal) -> None:
    device_approve(
        principal=principal,
        device_id=login.id,
        name="a laptop",
        scopes=USUAL_SCOPES,
        expires_in_days=30,
        origin=Origin(),
    )


def poll(stack: Stack, code: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.post(f"{stack.url}/api/auth/device/token", json={"device_code": code})
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


def earlier(login: DeviceLogin, **fields: Any) -> None:
    DeviceLogin.objects.filter(id=login.id).update(**fields)


def test_a_token_is_collected_once_and_not_too_often_asked_for(stack: Stack, account: Cast) -> None:
    login, code = start()
    status, body = poll(stack, code)
    assert (status, body["error"]) == (400, "authorization_pending")
    assert poll(stack, code)[1]["error"] == "slow_down"
    approve(login, account.principal())
    status, body = poll(stack, code)
    assert status == 200
    assert body["scopes"] == "sandboxes:read sandboxes:write"
    headers = {"Authorization": f"Bearer {body['token']}"}
    assert httpx.get(f"{stack.url}/v1/sandboxes", headers=headers).status_code == 200
    assert poll(stack, code)[1]["error"] == "invalid_grant"
    assert poll(stack, "nonsense\x00")[1]["error"] == "invalid_grant"
    login.refresh_from_db()
    assert body["token"] not in str(vars(login))


def test_what_is_refused_late_or_from_somebody_who_left_gives_nothing(
    stack: Stack, account: Cast
) -> None:
    login, code = start()
    device_refuse(principal=account.principal(), device_id=login.id, origin=Origin())
    assert poll(stack, code)[1]["error"] == "access_denied"
    login, code = start()
    earlier(login, expires_at=timezone.now() - timedelta(seconds=1))
    assert poll(stack, code)[1]["error"] == "expired_token"
    login, code = start()
    approve(login, account.principal(account.operator))
    member_add(account=account.account, user=account.operator, role="viewer")
    assert poll(stack, code)[1]["error"] == "access_denied"
    account.account.memberships.filter(user=account.operator).delete()
    assert poll(stack, code)[1]["error"] == "access_denied"
    assert not Token.objects.filter(account=account.account).exists()


def test_one_address_cannot_fill_the_list(stack: Stack) -> None:
    DeviceLogin.objects.all().delete()
    url = f"{stack.url}/api/auth/device/start"
    with httpx.Client() as client:
        for _ in range(REQUESTS):
            assert client.post(url, json={"client_name": "x"}).status_code == 200
        refused = client.post(url, json={"client_name": "x"})
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    assert start(address="192.0.2.8")[0].code
    DeviceLogin.objects.all().delete()


def strangers(prefix: str, *, each: int = 1, count: int = WAITING) -> None:
    """``count`` logins that wait, ``each`` of them from the same network below ``prefix``."""
    rows = (
        DeviceLogin(
            digest=secrets.token_hex(32),
            user_code=secrets.token_hex(4),
            client_name="a stranger",
            address=prefix.format(f"{number // each:x}"),
            expires_at=timezone.now() + LIFETIME,
        )
        for number in range(count)
    )
    DeviceLogin.objects.bulk_create(rows)


def test_a_strangers_flood_takes_no_login_from_anybody_else(stack: Stack, account: Cast) -> None:
    DeviceLogin.objects.all().delete()
    mine, code = start()
    neighbour, _ = start(address="2001:db8:ffff::7")
    strangers("2001:db8:{}::1", each=REQUESTS)
    with httpx.Client(base_url=stack.url) as client:
        answer = client.post("/api/auth/device/start", json={"client_name": "a colleague"})
    assert answer.status_code == 200
    for number in range(3):
        start(address=f"2001:db8:{number}:9::1")
    waiting = DeviceLogin.objects.filter(answered_at=None)
    assert waiting.count() == WAITING
    assert waiting.filter(client_name="a colleague").exists()
    assert waiting.filter(id=neighbour.id).exists(), "not even of one provider with them"
    approve(mine, account.principal())
    assert poll(stack, code)[0] == 200
    DeviceLogin.objects.all().delete()


def test_one_caller_has_one_address_however_the_socket_writes_it() -> None:
    assert origin("::ffff:192.0.2.7", "").address == "192.0.2.7"
    assert origin("::ffff:192.0.2.7", "").network == "192.0.2.7"
    assert origin("2001:db8::7", "").network == "2001:db8::/64"


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x07b", 5, None])
def test_what_asks_says_what_it_is(stack: Stack, name: object) -> None:
    answer = httpx.post(f"{stack.url}/api/auth/device/start", json={"client_name": name})
    assert answer.status_code == 422
    assert "client_name" in answer.json()["detail"]


WITHOUT_A_TOKEN = {("POST", "/api/auth/device/start"), ("POST", "/api/auth/device/token")}
WITH_ANY_TOKEN = {("GET", "/api/auth/me"), ("DELETE", "/api/api-tokens/current")}
SCOPES = {
    ("GET", "/api/v1/api-tokens"): "tokens:read",
    ("POST", "/api/v1/api-tokens"): "tokens:write",
    ("DELETE", "/api/v1/api-tokens/{token_id}"): "tokens:write",
    ("GET", "/api/v1/activity"): "audit:read",
}


def test_no_route_is_forgotten_here() -> None:
    routes = {
        (method, f"/api{prefix}{path}"): operation
        for prefix, router in api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    }
    assert set(routes) == WITHOUT_A_TOKEN | WITH_ANY_TOKEN | set(SCOPES)
    for route, operation in routes.items():
        guards = [guard.scope for guard in operation.auth_callbacks if isinstance(guard, Bearer)]
        wanted = [] if route in WITHOUT_A_TOKEN else [SCOPES.get(route)]
        assert guards == wanted, route


def test_each_route_asks_for_its_scope(stack: Stack, account: Cast) -> None:
    plain = account.mint(scopes=USUAL_SCOPES)
    with httpx.Client(base_url=stack.url) as client:
        for (method, path), scope in SCOPES.items():
            assert client.request(method, path).status_code == 401
            client.headers["Authorization"] = f"Bearer {plain.text}"
            answer = client.request(method, path, json={"name": "x"})
            assert answer.status_code == 403, path
            assert scope in answer.json()["detail"]
            del client.headers["Authorization"]
        client.headers["Authorization"] = f"Bearer {plain.text}"
        assert client.get("/api/auth/me").json()["plan"] == account.account.plan_id
        assert client.delete("/api/api-tokens/current").status_code == 204
        assert client.get("/api/auth/me").status_code == 401


def test_a_token_gives_away_no_more_than_it_has(
    stack: Stack, account: Cast, other_account: Cast
) -> None:
    minted = account.mint(scopes=["sandboxes:read", "tokens:write", "tokens:read"])
    soon = timezone.now() + timedelta(hours=1)
    networks = ["127.0.0.0/8"]
    Token.objects.filter(id=minted.token.id).update(expires_at=soon, allowed_networks=networks)
    foreign = other_account.mint()
    headers = {"Authorization": f"Bearer {minted.text}"}
    with httpx.Client(base_url=stack.url, headers=headers) as client:
        made = client.post("/api/v1/api-tokens", json={"name": "child"})
        assert made.status_code == 201
        for wrong in (
            {"name": ""},
            {"name": "x", "expires_in_days": 0},
            {"name": "x", "scopes": []},
        ):
            assert client.post("/api/v1/api-tokens", json=wrong).status_code == 422
        listed = client.get("/api/v1/api-tokens").json()["tokens"]
        assert {row["name"] for row in listed} == {"test", "child"}
        for name in (foreign.token.id, foreign.token.lookup, "x%00"):
            assert client.delete(f"/api/v1/api-tokens/{name}").status_code == 404
    child = Token.objects.get(account=account.account, name="child")
    assert child.scopes == ["sandboxes:read"]
    assert (child.expires_at, child.allowed_networks) == (soon, networks)
    assert child.created_by == account.owner
    foreign.token.refresh_from_db()
    assert foreign.token.revoked_at is None


def test_what_belongs_to_other_products_is_told_apart_in_a_sentence(stack: Stack) -> None:
    for method, path in (("GET", "/api/v1/projects"), ("POST", "/api/v1/deployments/x/start")):
        answer = httpx.request(method, f"{stack.url}{path}", json={})
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith(f"There is no {method} {path} on this platform.")


def test_the_activity_pages_by_cursor_and_by_count(stack: Stack, account: Cast) -> None:
    for number in range(7):
        audit_record(principal=account.principal(), action=f"test.{number}")
    headers = {"Authorization": f"Bearer {account.mint().text}"}

    def page(**query: object) -> dict[str, Any]:
        answer = httpx.get(f"{stack.url}/api/v1/activity", params=query, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    whole = [entry["id"] for entry in page(limit=200)["activity"]]
    assert len(whole) >= 8
    read: list[int] = []
    cursor: dict[str, object] = {}
    while True:
        found = page(limit=3, **cursor)
        read += [entry["id"] for entry in found["activity"]]
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
    assert read == whole
    assert [entry["id"] for entry in page(skip=4, limit=2)["activity"]] == whole[4:6]
    assert page(skip=len(whole))["activity"] == []
    assert page(skip=100_000) == {"activity": [], "next_cursor": None}
    for wrong in ({"cursor": "nonsense"}, {"cursor": "1-2", "skip": 1}):
        answer = httpx.get(f"{stack.url}/api/v1/activity", params=wrong, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 422
        assert "cursor is one that the page before gave out" in answer.json()["detail"]
