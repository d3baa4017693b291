"""The fixtures themselves: what they promise to every other test."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model

from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until

User = get_user_model()


@pytest.mark.django_db
def test_it_gives_a_fresh_account(account: Cast, other_account: Cast) -> None:
    assert account.account.id != other_account.account.id
    assert User.objects.count() == 6


@pytest.mark.django_db
def test_it_undoes_what_a_test_wrote() -> None:
    assert not User.objects.exists()


@pytest.mark.django_db
async def test_it_runs_coroutines_in_the_tests_transaction(account: Cast) -> None:
    await asyncio.sleep(0)
    assert await sync_to_async(User.objects.count)() == 3
    assert await User.objects.acount() == 3


@pytest.mark.django_db
async def test_it_undoes_what_a_coroutine_wrote() -> None:
    assert not await User.objects.aexists()


def test_it_runs_every_part_on_the_tests_database(stack: Stack, account: Cast) -> None:
    until(
        lambda: httpx.get(f"{stack.url}/readyz").json()["status"] == "ok",
        seconds=60,
        what="every part answers",
    )
    answer = httpx.get(f"{stack.url}/readyz")
    assert set(answer.json()["parts"]) == {"postgres", "redis", "host", "worker", "beat"}
    assert answer.status_code == httpx.codes.OK
