"""The webhook routes, by the official client and without it."""

from __future__ import annotations

import httpx
import pytest
from orkestr import OrkestrError, Webhook
from orkestr._client import OrkestrClient

from sandboxes.webhooks.models import Webhook as Row
from sandboxes.webhooks.services import WEBHOOKS_MAX
from tests.cast import Cast
from tests.stack import Stack

URL = "https://203.0.113.9/hook"


def test_create_shows_the_secret_and_list_does_not(sandbox_client: OrkestrClient) -> None:
    chosen = ["sandbox.expired", "sandbox.paused"]
    made = Webhook.create(URL, event_types=chosen)
    assert made.id.startswith("whk_")
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    assert (made.url, made.active, made.consecutive_failures) == (URL, True, 0)
    assert made.created_at is not None
    assert made.last_delivery_at is None
    assert made.last_error is None
    every = Webhook.create(URL)
    assert every.event_types is None
    assert every.secret != made.secret
    newest, oldest = Webhook.list()
    assert (newest.id, oldest.id) == (every.id, made.id)
    assert newest.secret is oldest.secret is None
    assert sorted(oldest.event_types or []) == chosen


def test_enable_forgets_failures(sandbox_client: OrkestrClient) -> None:
    made = Webhook.create(URL)
    Row.objects.filter(id=made.id).update(
        active=False, consecutive_failures=20, last_error="The answer was 500."
    )
    assert Webhook.list()[0].active is False
    on = Webhook.enable(made.id)
    assert (on.id, on.active, on.consecutive_failures, on.last_error) == (made.id, True, 0, None)
    assert on.secret is None


def test_delete_forgets_it(sandbox_client: OrkestrClient) -> None:
    made = Webhook.create(URL)
    Webhook.delete(made.id)
    assert Webhook.list() == []
    with pytest.raises(OrkestrError) as gone:
        Webhook.delete(made.id)
    assert gone.value.status_code == 404


@pytest.mark.parametrize("name", ["whk_" + "0" * 26, "x", "%00", "sbx_" + "0" * 26, "ü" * 50])
def test_one_that_is_not_there_is_not_found(http: httpx.Client, name: str) -> None:
    for answer in (
        http.post(f"/v1/sandboxes/webhooks/{name}/enable"),
        http.delete(f"/v1/sandboxes/webhooks/{name}"),
    ):
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("There is no webhook")


def test_a_foreign_one_is_answered_like_an_absent_one(
    stack: Stack, sandbox_client: OrkestrClient, other_account: Cast
) -> None:
    made = Webhook.create(URL)
    with OrkestrClient(api_key=other_account.mint().text, base_url=stack.url) as other:
        assert Webhook.list(client=other) == []
        for change in (Webhook.enable, Webhook.delete):
            with pytest.raises(OrkestrError) as foreign:
                change(made.id, client=other)
            with pytest.raises(OrkestrError) as absent:
                change("whk_" + "0" * 26, client=other)
            assert foreign.value.status_code == absent.value.status_code == 404
            said = str(foreign.value).replace(made.id, "")
            assert said == str(absent.value).replace("whk_" + "0" * 26, "")
    assert [one.id for one in Webhook.list()] == [made.id]


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://10.0.0.1/"},
        {"url": "http://169.254.169.254/latest/meta-data/"},
        {"url": "http://[fd00::1]/"},
        {"url": "http://[::ffff:127.0.0.1]/"},
        {"url": "ftp://203.0.113.9/"},
        {"url": "https://user:pass@203.0.113.9/"},
        {"url": "https://203.0.113.9:22/"},
        {"url": "https://203.0.113.9/\r\nX-A: b"},
        {"url": "https://203.0.113.9/\x00"},
        {"url": "https://nothing-here.invalid/"},
        {"url": ""},
        {"url": URL, "event_types": []},
        {"url": URL, "event_types": ["sandbox.exploded"]},
        {"url": URL, "event_types": ["sandbox.created", "\x00"]},
        {"url": URL, "event_types": "sandbox.created"},
        {"url": URL, "event_types": [1]},
        {"url": URL, "secret": "whsec_mine"},
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(
    http: httpx.Client, body: dict[str, object]
) -> None:
    answer = http.post("/v1/sandboxes/webhooks", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].endswith(".")
    assert http.get("/v1/sandboxes/webhooks").json() == {"webhooks": []}


def test_an_account_has_so_many_and_no_more(http: httpx.Client) -> None:
    for _ in range(WEBHOOKS_MAX):
        assert http.post("/v1/sandboxes/webhooks", json={"url": URL}).status_code == 201
    answer = http.post("/v1/sandboxes/webhooks", json={"url": URL})
    assert answer.status_code == 409
    assert "delete one first" in answer.json()["detail"]
