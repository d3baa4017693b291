"""How often something may be tried, one after the other and all at once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from ulid import ULID

from accounts.attempts import Limit, TooManyAttempts, attempts_count, attempts_forget
from accounts.models import Attempt
from accounts.origin import origin
from tests.stack import Stack

FEW = Limit("test of a few", 3, 15)
MANY = Limit("test of many", 100, 15)


@pytest.mark.django_db
def test_what_is_one_too_many_is_refused_and_counts_nowhere() -> None:
    for _ in range(FEW.most):
        attempts_count((MANY, "all"), (FEW, "one"))
    before = Attempt.objects.count()
    with pytest.raises(TooManyAttempts, match="in 15 minutes"):
        attempts_count((MANY, "all"), (FEW, "one"))
    assert Attempt.objects.count() == before
    attempts_count((MANY, "all"), (FEW, "another"))
    attempts_forget(FEW, "one")
    attempts_count((FEW, "one"))


@pytest.mark.django_db
def test_what_is_taken_back_was_none() -> None:
    for _ in range(2 * FEW.most):
        attempts_count((FEW, "one")).take_back()


def test_of_any_number_at_once_no_more_than_may_get_through(stack: Stack) -> None:
    at_once = 8 * FEW.most
    together, who = Barrier(at_once), str(ULID())

    def attempt() -> str:
        together.wait(30)
        try:
            attempts_count((FEW, who))
        except TooManyAttempts:
            return "refused"
        finally:
            connection.close()
        return "let through"

    with ThreadPoolExecutor(at_once) as pool:
        told = Counter(each.result(60) for each in [pool.submit(attempt) for _ in range(at_once)])
    assert told["let through"] <= FEW.most
    assert told.total() == at_once


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_limits_go_by_networks(address: str, network: str) -> None:
    assert origin(address, "").network == network
