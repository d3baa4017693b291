"""Totals become usage rows once, in whatever order and however often they are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from accounts.models import Size
from sandboxes.host.types import MeterInfo
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox
from sandboxes.reserving import sandbox_reserve
from sandboxes.usage.models import Meter, Spending, Usage
from sandboxes.usage.selectors import is_settled, lifetime_of, spent_eur
from sandboxes.usage.services import usage_count
from tests.cast import Cast, make_cast

NOON = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
HOUR_OF_CPU = 3_600_000_000
HOUR_OF_GB = 1024 * 1024 * 3_600_000


def reserve(cast: Cast) -> str:
    return sandbox_reserve(principal=cast.principal(), request=SandboxRequest("debian-12"))[0].id


def told(
    sandbox_id: str, cpu_us: int, memory: int = 0, *, generation: int = 1, ended: bool = False
) -> MeterInfo:
    return MeterInfo(sandbox_id, generation, cpu_us, memory, ended)


def count(*meters: MeterInfo, at: datetime = NOON) -> None:
    usage_count(meters=meters, at=at)


@pytest.fixture
def sandbox_id(account: Cast) -> str:
    return reserve(account)


def test_only_what_is_new_is_added(sandbox_id: str) -> None:
    for cpu_us in (100, 100, 250, 250):
        count(told(sandbox_id, cpu_us, cpu_us * 2))
    row = Usage.objects.get(sandbox_id=sandbox_id)
    assert (row.cpu_us, row.memory_kib_ms) == (250, 500)
    assert row.hour == NOON.replace(minute=0)


def test_totals_that_come_late_take_nothing_back(sandbox_id: str) -> None:
    count(told(sandbox_id, 300, 30))
    count(told(sandbox_id, 100, 10))
    count(told(sandbox_id, 350, 35))
    assert lifetime_of(sandbox_id).cpu_us == 350
    assert lifetime_of(sandbox_id).memory_kib_ms == 35


def test_a_meter_that_begins_anew_is_added_and_its_forerunner_is_over(sandbox_id: str) -> None:
    count(told(sandbox_id, 300, generation=1))
    count(told(sandbox_id, 40, generation=2))
    count(told(sandbox_id, 300, generation=1))
    count(told(sandbox_id, 60, generation=2))
    assert lifetime_of(sandbox_id).cpu_us == 360


def test_each_hour_has_a_row_of_its_own(sandbox_id: str) -> None:
    count(told(sandbox_id, 100))
    count(told(sandbox_id, 180), at=NOON + timedelta(hours=1))
    rows = Usage.objects.filter(sandbox_id=sandbox_id).order_by("hour")
    assert [row.cpu_us for row in rows] == [100, 80]


def test_the_price_is_the_sizes_rate_to_the_last_digit(account: Cast, sandbox_id: str) -> None:
    Size.objects.filter(name="small").update(
        eur_per_cpu_hour=Decimal("0.045001"), eur_per_gb_hour=Decimal("0.0145")
    )
    count(told(sandbox_id, HOUR_OF_CPU, 2 * HOUR_OF_GB))
    assert Usage.objects.get(sandbox_id=sandbox_id).eur == Decimal("0.074001")
    assert spent_eur(account.account.id) == Decimal("0.074001")


def test_what_an_account_spent_is_the_sum_of_its_rows_exactly(account: Cast) -> None:
    ids = [reserve(account) for _ in range(3)]
    for step in range(1, 30):
        at = NOON + timedelta(minutes=7 * step)
        count(*(told(one, 1_234_567 * step, 7_654_321 * step) for one in ids), at=at)
    rows = Usage.objects.filter(account=account.account)
    assert rows.count() > 6
    assert rows.aggregate(all=Sum("eur"))["all"] == spent_eur(account.account.id) > 0


def test_a_changed_rate_prices_only_what_comes_after(account: Cast, sandbox_id: str) -> None:
    Size.objects.filter(name="small").update(eur_per_cpu_hour=1, eur_per_gb_hour=0)
    count(told(sandbox_id, HOUR_OF_CPU))
    Size.objects.filter(name="small").update(eur_per_cpu_hour=3)
    count(told(sandbox_id, 2 * HOUR_OF_CPU))
    assert spent_eur(account.account.id) == 4


def test_what_has_no_row_is_nobodys(db: None) -> None:
    count(told("sbx_" + "7" * 26, 1000, ended=True))
    assert not Meter.objects.exists()
    assert not Usage.objects.exists()
    assert not Spending.objects.exists()


def test_the_last_totals_settle_a_sandbox(sandbox_id: str) -> None:
    count(told(sandbox_id, 10))
    assert not is_settled(sandbox_id)
    count(told(sandbox_id, 12, ended=True))
    count(told(sandbox_id, 10))
    assert is_settled(sandbox_id)
    assert lifetime_of(sandbox_id).cpu_us == 12


def test_usage_stays_when_the_sandboxs_own_row_goes(account: Cast, sandbox_id: str) -> None:
    count(told(sandbox_id, HOUR_OF_CPU))
    Sandbox.objects.filter(id=sandbox_id).delete()
    assert lifetime_of(sandbox_id).cpu_us == HOUR_OF_CPU
    assert spent_eur(account.account.id) > 0


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """Several connections must see it. It stays: emptying tables would take the seeds of others."""
    with django_db_blocker.unblock():
        yield make_cast()
        connection.close()


def test_any_number_of_rounds_at_once_count_once(committed: Cast) -> None:
    ids = [reserve(committed) for _ in range(5)]
    failures: list[BaseException] = []
    begin = threading.Barrier(6)

    def rounds(which: int) -> None:
        try:
            begin.wait(10)
            for step in range(1, 21):
                order = ids if which % 2 else ids[::-1]
                count(*(told(one, 1000 * step, 10 * step) for one in order), at=timezone.now())
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=rounds, args=[which]) for which in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    for one in ids:
        assert (lifetime_of(one).cpu_us, lifetime_of(one).memory_kib_ms) == (20_000, 200)
    sums = Usage.objects.filter(sandbox_id__in=ids).aggregate(all=Sum("eur"))
    assert sums["all"] == spent_eur(committed.account.id)
