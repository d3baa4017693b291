"""Control messages reach who listens, once what they tell about is committed."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.test import override_settings

from accounts.announce import CONTROL, account_group, announce
from accounts.services import token_revoke
from tests.cast import Cast


class Capture(Protocol):
    """pytest-django's ``django_capture_on_commit_callbacks``."""

    def __call__(self, *, execute: bool) -> AbstractContextManager[list[object]]: ...


async def test_a_revoked_token_is_told_to_running_streams(
    account: Cast, redis_url: str, django_capture_on_commit_callbacks: Capture
) -> None:
    minted = await sync_to_async(account.mint)()
    layer = get_channel_layer()
    assert layer is not None
    name = await layer.new_channel()
    await layer.group_add(CONTROL, name)

    def revoke() -> None:
        with django_capture_on_commit_callbacks(execute=True):
            token_revoke(principal=account.principal(), token_id=minted.token.id)

    await sync_to_async(revoke)()
    message = await asyncio.wait_for(layer.receive(name), 10)
    assert message == {"type": "token.revoked", "token_id": minted.token.id}
    await layer.group_discard(CONTROL, name)


def test_nothing_is_told_before_the_commit(
    account: Cast, django_capture_on_commit_callbacks: Capture
) -> None:
    with django_capture_on_commit_callbacks(execute=False) as waiting:
        announce(group=CONTROL, message={"type": "test"})
    assert len(waiting) == 1


def test_without_valkey_the_change_itself_still_happens(
    account: Cast, django_capture_on_commit_callbacks: Capture
) -> None:
    minted = account.mint()
    nowhere = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": "redis://127.0.0.1:1/0"}]},
        }
    }
    with (
        override_settings(CHANNEL_LAYERS=nowhere),
        django_capture_on_commit_callbacks(execute=True),
    ):
        token_revoke(principal=account.principal(), token_id=minted.token.id)
    minted.token.refresh_from_db()
    assert minted.token.revoked_at is not None


def test_each_account_has_a_group_of_its_own(account: Cast, other_account: Cast) -> None:
    assert account_group(account.account.id) != account_group(other_account.account.id)
