"""Webhooks in the console: who is told of what, and how that went."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone
from orkestr import verify_webhook_signature
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEntry, User
from sandboxes.webhooks.claims import FAILURES_MAX, finished
from sandboxes.webhooks.models import Attempt, Delivery, DeliveryStatus, Webhook
from sandboxes.webhooks.posting import Outcome
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched
from tests.sandboxes.webhooks.receiver import Answer, Received, Receiver
from tests.stack import Stack
from tests.waiting import until

ACTS = ("enable", "disable", "rotate", "delete", "test")


def hook_of(cast: Cast, **changes: object) -> Webhook:
    values = {"actor": {"type": "system"}, "url": "https://203.0.113.9/hook", "salt": "s"}
    return Webhook.objects.create(account=cast.account, **{**values, **changes})


def delivery_of(hook: Webhook, **changes: object) -> Delivery:
    values = {"event_id": "evt_1", "event_type": "sandbox.created", "subject": "sbx_1"}
    return Delivery.objects.create(webhook=hook, **{**values, "body": "{}", **changes})


def reader(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_webhook_from_its_secret_to_its_end(page: Page, stack: Stack, account: Cast) -> None:
    complaints = watched(page)
    with Receiver() as receiver:
        answers = [Answer(500, b"not <b>today</b>"), Answer(200, b"thanks")]

        def answer(_: Received) -> Answer:
            return answers.pop(0) if answers else Answer()

        receiver.answer = answer
        sign_in(page, account.operator, to="/settings/webhooks/")
        expect(page.locator(".empty")).to_contain_text("Nobody is told yet")
        page.get_by_role("button", name="Add a webhook").click()
        page.get_by_label("Address").fill("http://10.0.0.1/hook")
        page.get_by_role("radio", name="Only these").check()
        page.get_by_label("sandbox.paused").check()
        page.get_by_role("button", name="Add webhook").click()
        expect(page.get_by_role("dialog")).to_contain_text("Webhooks are not sent to 10.0.0.1")
        page.get_by_label("Address").fill(receiver.url)
        shot(page, "webhook-add")
        page.get_by_role("button", name="Add webhook").click()
        secret = page.locator("#webhook-secret").inner_text()
        shot(page, "webhooks")
        hook = Webhook.objects.get(account=account.account)
        assert hook.event_types == ["sandbox.paused"]
        page.goto(f"/settings/webhooks/{hook.id}/")
        assert secret not in page.content()

        page.get_by_role("button", name="Send a test").click()
        until(lambda: len(receiver.received) == 2, what="it was tried again")
        for received in receiver.received:
            assert received.payload["type"] == "webhook.test"
            signature = received.headers["x-orkestr-signature"]
            assert verify_webhook_signature(secret, received.body, signature)
        delivery = Delivery.objects.get(webhook=hook)
        until(lambda: delivery.tries.count() == 2, what="both are written down")
        page.reload()
        page.get_by_role("link", name="webhook.test").click()
        first, second = (page.get_by_role("region", name=f"Try {number}") for number in (1, 2))
        expect(first).to_contain_text("500")
        expect(first).to_contain_text("not <b>today</b>")
        expect(first).to_contain_text(" ms")
        expect(second).to_contain_text("thanks")
        expect(page.locator("#delivery-body")).to_contain_text(f'"webhook_id": "{hook.id}"')
        shot(page, "webhook-delivery")
        page.get_by_role("button", name="Replay").click()
        expect(page.get_by_text("a replay of")).to_be_visible()
        until(lambda: len(receiver.received) == 3, what="it is sent once more")

        page.goto(f"/settings/webhooks/{hook.id}/")
        page.get_by_role("button", name="Rotate secret").click()
        page.get_by_role("dialog").get_by_role("button", name="Rotate secret").click()
        rotated = page.locator("#webhook-secret").inner_text()
        assert rotated != secret
        page.get_by_label("Event", exact=True).select_option("sandbox.paused")
        expect(page.locator(".empty")).to_contain_text("Nothing matches")
        page.get_by_label("State").select_option("delivered")
        page.get_by_label("Event", exact=True).select_option("webhook.test")
        expect(page.locator(".deliveries-list li")).to_have_count(2)
        page.set_viewport_size({"width": 390, "height": 844})
        shot(page, "webhook-phone")
        page.set_viewport_size({"width": 1280, "height": 720})
        shot(page, "webhook")
        page.get_by_role("button", name="Switch off").click()
        expect(page.get_by_text("It is switched off and told nothing.")).to_be_visible()
        page.get_by_role("button", name="Switch on").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("dialog")).to_contain_text(receiver.url)
        page.get_by_role("button", name="Delete webhook").click()
        expect(page.locator(".empty")).to_contain_text("Nobody is told yet")
    acts = AuditEntry.objects.filter(account=account.account, action__startswith="webhook.")
    assert [entry.action.partition(".")[2] for entry in acts.order_by("id")] == [
        *("created", "tested", "replayed", "rotated", "disabled", "enabled", "deleted"),
    ]
    assert [one for one in complaints if "422" not in one] == []


def test_why_it_switched_itself_off_is_told(account: Cast) -> None:
    error = "The answer was 503."
    hook = hook_of(account, consecutive_failures=FAILURES_MAX - 1)
    delivery = delivery_of(hook, attempts=3)
    waiting = delivery_of(hook)
    finished({delivery.id: Outcome(12, 503, b"<script>alert(1)</script>", error)})
    client = reader(account.operator)
    text = client.get(f"/settings/webhooks/{hook.id}/").content.decode()
    assert "It was switched off by itself: 20 deliveries in a row" in text
    assert error in text
    shown = client.get(f"/settings/webhooks/{hook.id}/deliveries/{delivery.id}/").content.decode()
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown
    waiting.refresh_from_db()
    assert waiting.status == DeliveryStatus.FAILED
    client.post(f"/settings/webhooks/{hook.id}/enable/")
    hook.refresh_from_db()
    assert (hook.active, hook.consecutive_failures) == (True, 0)


def test_each_attempt_is_a_row_that_goes_with_its_delivery(account: Cast) -> None:
    delivery = delivery_of(hook_of(account))
    for number in range(1, 4):
        finished({delivery.id: Outcome(number, 500, b"x" * 5000, "The answer was 500.")})
    rows = Attempt.objects.filter(delivery=delivery).order_by("number")
    assert [(row.number, row.duration_ms) for row in rows] == [(1, 1), (2, 2), (3, 3)]
    assert {len(row.response_body) for row in rows} == {1024}
    delivery.delete()
    assert not rows.all().exists()


def test_pages_of_deliveries_shift_for_nobody_and_cost_the_same(
    account: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    hook = hook_of(account)
    ids = [delivery_of(hook, status="failed", ended_at=timezone.now()).id for _ in range(65)]
    client = reader(account.viewer)
    path = f"/settings/webhooks/{hook.id}/"
    with django_assert_num_queries(5):
        answer = client.get(path)
    seen = [row.id for row in answer.context["page"].rows]
    delivery_of(hook)
    while (before := answer.context["page"].next_before) is not None:
        answer = client.get(path, {"before": before, "status": "failed"})
        seen += [row.id for row in answer.context["page"].rows]
    assert seen == sorted(ids, reverse=True)
    assert client.get(path, {"before": "whd_'--", "status": "x", "event": "y"}).status_code == 200


def test_only_who_may_act_changes_anything(account: Cast, other_account: Cast) -> None:
    hook = hook_of(account)
    delivery = delivery_of(hook, status="failed")
    path = f"/settings/webhooks/{hook.id}/"
    replay = f"{path}deliveries/{delivery.id}/replay/"
    for address in (*(f"{path}{act}/" for act in ACTS), replay):
        assert reader(account.viewer).post(address).status_code == 403
        assert reader(other_account.owner).post(address).status_code == 404
        assert reader(account.owner).get(address).status_code == 405
    for address in (path, f"{path}deliveries/{delivery.id}/"):
        assert reader(account.viewer).get(address).status_code == 200
        assert reader(other_account.owner).get(address).status_code == 404
    add = {"url": "https://203.0.113.9/x", "events": "all"}
    assert reader(account.viewer).post("/settings/webhooks/", add).status_code == 403
    assert Webhook.objects.filter(id=hook.id, active=True, salt="s").exists()
    assert Delivery.objects.filter(webhook=hook).count() == 1


def test_a_delivery_of_another_webhook_is_not_found_below_this_one(account: Cast) -> None:
    hook, other = hook_of(account), hook_of(account)
    delivery = delivery_of(other, status="failed")
    address = f"/settings/webhooks/{hook.id}/deliveries/{delivery.id}/"
    client = reader(account.owner)
    assert client.get(address).status_code == 404
    assert client.post(f"{address}replay/").status_code == 404


@pytest.mark.parametrize(
    "url",
    ["https://a.example/\r\nX-Evil: 1", "http://user:pass@203.0.113.9/", "ftp://203.0.113.9/"],
)
def test_an_address_that_could_end_a_header_is_refused(account: Cast, url: str) -> None:
    answer = reader(account.owner).post("/settings/webhooks/", {"url": url, "events": "all"})
    assert answer.status_code == 422
    assert not Webhook.objects.filter(account=account.account).exists()


def test_one_test_is_on_its_way_at_a_time(account: Cast) -> None:
    hook = hook_of(account)
    client = reader(account.operator)
    for _ in range(3):
        client.post(f"/settings/webhooks/{hook.id}/test/")
    assert Delivery.objects.filter(webhook=hook, event_type="webhook.test").count() == 1
