"""A token's own page: how far it reaches, what it never used, and stopping all of it at once."""

from __future__ import annotations

from datetime import timedelta

import httpx
from django.test import Client
from django.utils import timezone
from orkestr import Sandbox as OrkestrSandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEntry, ScopeUse, Token, User
from accounts.services import token_mint
from sandboxes.models import Sandbox, Snapshot, Status, TokenTouch
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import events_after


def reader(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def made_by(cast: Cast, token: Token | None, **changes: object) -> Sandbox:
    row = cast.sandbox_row(status=Status.RUNNING)
    Sandbox.objects.filter(id=row.id).update(token=token, **changes)
    row.refresh_from_db()
    return row


def touch(token: Token, sandbox: Sandbox) -> None:
    now = timezone.now()
    TokenTouch.objects.create(token=token, sandbox=sandbox, first_at=now, last_at=now)


def test_a_token_is_narrowed_and_then_stopped_with_all_it_started(
    page: Page, stack: Stack, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    minted = account.mint(name="night run")
    token = minted.token
    mine = OrkestrClient(api_key=minted.text, base_url=stack.url)
    env = {"OPENAI_API_KEY": "sk-0123456789"}
    busy = OrkestrSandbox.create(template="debian-12", env=env, client=mine)
    other = OrkestrSandbox.create(template="debian-12", client=sandbox_client)
    assert OrkestrSandbox.get(other.id, client=mine).status == "running"
    busy.files.write("/workspace/kept.txt", "kept")
    until(lambda: ScopeUse.objects.filter(token=token).count() == 2, what="its use is noted")
    until(lambda: TokenTouch.objects.filter(token=token).exists(), what="where it was is noted")
    assert TokenTouch.objects.get(token=token).sandbox_id == other.id

    sign_in(page, account.owner, to="/tokens/")
    page.get_by_role("link", name="night run").click()
    warning = page.locator(".notice", has_text="It has not used")
    expect(warning).to_contain_text("tokens:read, tokens:write, audit:read")
    expect(page.locator(".tag", has_text="OPENAI_API_KEY")).to_be_visible()
    reached = page.get_by_role("table", name="Sandboxes it reached")
    expect(reached).to_contain_text("made by another")
    shot(page, "token")
    page.set_viewport_size({"width": 390, "height": 1400})
    shot(page, "token-phone")
    page.set_viewport_size({"width": 1280, "height": 720})
    warning.get_by_role("link", name="Mint a narrower one").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name")).to_have_value("night run")
    expect(dialog.locator("input[name=scopes]:checked")).to_have_count(2)
    shot(page, "token-narrower")

    page.goto(f"/tokens/{token.id}/")
    page.get_by_role("button", name="Revoke and pause everything").click()
    expect(dialog).to_contain_text("Revoke night run and pause 1 sandbox?")
    dialog.get_by_role("button", name="Revoke and pause").click()
    said = page.locator(".notice", has_text="night run is revoked.")
    expect(said).to_contain_text("1 running sandbox paused.")
    headers = {"Authorization": f"Bearer {minted.text}"}
    assert httpx.get(f"{stack.url}/v1/sandboxes", headers=headers, timeout=30).status_code == 401
    row = Sandbox.objects.get(id=busy.id)
    assert (row.status, row.reason) == (Status.PAUSED, "token_revoked")
    assert Sandbox.objects.get(id=other.id).status == Status.RUNNING
    until(
        lambda: bool(events_after(sandbox_id=busy.id, kinds=["sandbox.paused"])),
        what="its pause is stored",
    )
    (event,) = events_after(sandbox_id=busy.id, kinds=["sandbox.paused"])
    assert event.data["reason"] == "token_revoked"
    assert event.actor.name == account.owner.name
    woken = OrkestrSandbox.resume(busy.id, client=sandbox_client)
    assert woken.files.read("/workspace/kept.txt") == "kept"
    assert complaints == []


def test_everything_it_reached_is_told(account: Cast) -> None:
    token = account.mint(name="ci").token
    made = [made_by(account, token, env_names=["A_KEY", "B_KEY"]) for _ in range(2)]
    entered = made_by(account, None, env_names=["A_KEY"], volume_name="models")
    made_by(account, account.mint().token, env_names=["FOREIGN"])
    touch(token, entered)
    values = {"template": "debian-12", "size": "small", "cpu": 1, "memory_mb": 1024}
    values |= {"network": "off", "region": "local", "node_id": "local"}
    Snapshot.objects.create(account=account.account, source_id=made[0].id, **values)
    answer = reader(account.viewer).get(f"/tokens/{token.id}/")
    reach = answer.context["reach"]
    assert (reach.made, reach.entered, reach.running, reach.snapshots) == (2, 1, 2, 1)
    assert reach.secrets == [("A_KEY", 3), ("B_KEY", 2)]
    assert reach.volumes == ["models"]
    ids = sorted((row.id for row in (*made, entered)), reverse=True)
    assert [row.id for row in reach.recent] == ids
    text = answer.content.decode()
    assert "FOREIGN" not in text
    assert "Revoke and pause" not in text  # a viewer looks


def test_the_page_asks_as_much_however_far_a_token_reaches(
    account: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    token = account.mint().token
    client = reader(account.owner)
    for rows in (1, 30):
        for _ in range(rows):
            touch(token, made_by(account, None))
            made_by(account, token, env_names=["KEY"])
        with django_assert_num_queries(10):
            client.get(f"/tokens/{token.id}/")


def test_a_token_that_is_new_is_not_blamed(account: Cast) -> None:
    token = account.mint().token
    text = reader(account.owner).get(f"/tokens/{token.id}/").content.decode()
    assert "It has not used" not in text
    ScopeUse.objects.create(token=token, scope="sandboxes:read", last_at=timezone.now())
    text = reader(account.owner).get(f"/tokens/{token.id}/").content.decode()
    assert "It has not used" in text


def test_whose_it_is_and_who_may_stop_it(account: Cast, other_account: Cast) -> None:
    token = account.mint().token
    made_by(account, token)
    path = f"/tokens/{token.id}/"
    assert reader(other_account.owner).get(path).status_code == 404
    assert reader(other_account.owner).post(f"{path}stop/").status_code == 404
    assert reader(other_account.owner).get(f"/tokens/?narrower={token.id}").status_code == 404
    for person in (account.viewer, account.operator):  # an owner minted it
        assert reader(person).post(f"{path}stop/").status_code == 403
    assert reader(account.owner).get(f"{path}stop/").status_code == 405
    token.refresh_from_db()
    assert token.revoked_at is None
    assert not AuditEntry.objects.filter(account=account.account, action="token.stopped").exists()


def test_from_elsewhere_it_is_refused_at_every_door(stack: Stack, account: Cast) -> None:
    def calls(networks: list[str]) -> list[int]:
        minted = token_mint(
            principal=account.principal(),
            name="fenced",
            scopes=["sandboxes:read"],
            allowed_networks=networks,
        )
        headers = {"Authorization": f"Bearer {minted.text}", "Accept": "application/json"}
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        with httpx.Client(base_url=stack.url, headers=headers, timeout=30) as client:
            mcp = {"Accept": "application/json, text/event-stream"}
            forged = {"X-Forwarded-For": "192.0.2.7"}
            return [
                client.get("/v1/sandboxes").status_code,
                client.get("/v1/sandboxes", headers=forged).status_code,
                client.post("/api/sandboxes/mcp", json=ask, headers=mcp).status_code,
            ]

    assert calls(["192.0.2.0/24", "2001:db8::/32"]) == [401, 401, 401]
    assert calls(["127.0.0.0/8"]) == [200, 200, 200]


def test_what_is_left_of_its_time_has_a_colour(account: Cast) -> None:
    token = account.mint().token
    Token.objects.filter(id=token.id).update(expires_at=timezone.now() + timedelta(days=2))
    text = reader(account.viewer).get(f"/tokens/{token.id}/").content.decode()
    assert 'data-state="late">in ' in text
