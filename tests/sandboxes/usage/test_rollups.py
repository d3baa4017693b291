"""Sums of days, months and sandboxes say what the usage rows say, to the last digit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db.models import Sum

from accounts.models import Size
from sandboxes.models import Sandbox, Status
from sandboxes.usage import report
from sandboxes.usage.models import DayUsage, RunUsage, Spending, Usage
from sandboxes.usage.outlook import outlook
from sandboxes.usage.services import usage_count
from tests.cast import Cast
from tests.sandboxes.usage.test_counting import HOUR_OF_CPU, HOUR_OF_GB, told

LATE = datetime(2030, 1, 31, 23, 30, tzinfo=UTC)
SUMS = {"cpu": Sum("cpu_us"), "memory": Sum("memory_kib_ms"), "eur": Sum("eur")}


def made(cast: Cast, *, template: str = "debian-12", token_id: str | None = None) -> str:
    row = cast.sandbox_row(status=Status.RUNNING)
    Sandbox.objects.filter(id=row.id).update(template=template, token_id=token_id)
    return row.id


def test_every_sum_is_that_of_the_rows_across_a_month_s_end(account: Cast) -> None:
    token = account.mint(name="ci").token
    ids = [made(account, token_id=token.id), made(account), made(account, template="node-22")]
    for step in range(1, 40):
        at = LATE + timedelta(minutes=5 * step)
        usage_count(meters=[told(one, 7_654_321 * step, 1_234_567 * step) for one in ids], at=at)
    usage = Usage.objects.filter(account=account.account).aggregate(**SUMS)
    assert DayUsage.objects.filter(account=account.account).aggregate(**SUMS) == usage
    assert RunUsage.objects.filter(account=account.account).aggregate(**SUMS) == usage
    spending = Spending.objects.get(account=account.account)
    february = RunUsage.objects.filter(account=account.account, month=date(2030, 2, 1))
    assert spending.eur == usage["eur"]
    assert spending.month == date(2030, 2, 1)
    assert spending.month_eur == february.aggregate(**SUMS)["eur"] < usage["eur"]


def test_a_round_that_comes_late_adds_to_its_own_month_alone(account: Cast) -> None:
    one, other = made(account), made(account)
    usage_count(meters=[told(one, HOUR_OF_CPU)], at=LATE + timedelta(hours=1))
    usage_count(meters=[told(other, HOUR_OF_CPU)], at=LATE)
    spending = Spending.objects.get(account=account.account)
    assert spending.month == date(2030, 2, 1)
    assert spending.month_eur * 2 == spending.eur


def test_a_month_is_told_by_day_template_token_and_sandbox(account: Cast) -> None:
    token = account.mint(name="night run").token
    dear, cheap = made(account, template="node-22", token_id=token.id), made(account)
    at = datetime(2030, 1, 2, 12, tzinfo=UTC)
    usage_count(meters=[told(dear, 3 * HOUR_OF_CPU), told(cheap, HOUR_OF_CPU)], at=at)
    month = report.usage_month(
        account_id=account.account.id, first=date(2030, 1, 1), today=date(2030, 1, 3)
    )
    rate = Decimal("0.045")
    assert [day.key.day for day in month.days] == [1, 2, 3]
    assert [day.eur for day in month.days] == [0, 4 * rate, 0]
    assert [(one.key, one.eur) for one in month.templates] == [
        ("node-22", 3 * rate),
        ("debian-12", rate),
    ]
    assert [(one.name, one.eur) for one in month.tokens] == [
        ("night run", 3 * rate),
        ("People", rate),
    ]
    assert [(one.key, one.cpu_hours) for one in month.sandboxes] == [(dear, 3), (cheap, 1)]
    assert month.total.eur == 4 * rate
    assert month.others == 0


def test_what_a_running_sandbox_adds_is_its_rate_of_the_last_minutes(account: Cast) -> None:
    Size.objects.filter(name="small").update(eur_per_cpu_hour=1, eur_per_gb_hour=10)
    busy, fresh, over = made(account), made(account), made(account)
    now = datetime.now(UTC)
    Sandbox.objects.filter(id=fresh).update(created_at=now - timedelta(seconds=36))
    Sandbox.objects.filter(id=over).update(status=Status.TERMINATED)
    # An hour ago it was far busier than of late: half a core and a tenth of a GB.
    for ago, cpu, memory in ((3600, 0, 0), (400, 3600, 360), (0, 3800, 400)):
        meter = told(busy, cpu * 1_000_000, memory * HOUR_OF_GB // 3600)
        usage_count(meters=[meter], at=now - timedelta(seconds=ago))
    usage_count(meters=[told(fresh, 9_000_000)], at=now)
    first, second = report.usage_running(account.account.id)
    assert (first.sandbox_id, second.sandbox_id) == (busy, fresh)
    assert round(first.per_hour, 2) == Decimal("1.50")
    assert round(second.per_hour, 2) == Decimal("0.25")
    ahead = outlook(running=[first, second], per_day=Decimal(0), now=now)
    reached = ahead.reaches(Decimal("3.50"))
    assert reached is not None
    assert abs(reached - now - timedelta(hours=2)) < timedelta(minutes=1)


def test_without_anything_running_the_last_week_says_how_long_it_lasts(account: Cast) -> None:
    one, now = made(account), datetime(2030, 1, 10, 6, tzinfo=UTC)
    usage_count(meters=[told(one, 80 * HOUR_OF_CPU)], at=now - timedelta(days=4))
    per_day = report.usage_a_day(account.account.id, today=now.date())
    assert per_day == Decimal("0.9")
    ahead = outlook(running=[], per_day=per_day, now=now)
    assert ahead.reaches(Decimal("1.8")) == now + timedelta(days=2)
    assert ahead.reaches(Decimal(0)) == now
    assert outlook(running=[], per_day=Decimal(0), now=now).reaches(Decimal(1)) is None
