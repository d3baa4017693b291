"""The use of a whole run, from the samples that counting keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sandboxes.host.types import MeterInfo
from sandboxes.models import Sandbox
from sandboxes.usage.history import usage_history
from sandboxes.usage.models import Sample
from sandboxes.usage.services import usage_count
from tests.cast import Cast
from tests.sandboxes.usage.test_counting import reserve

BEGAN = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
GIB_KIB = 1024 * 1024


@pytest.fixture
def sandbox(account: Cast) -> Sandbox:
    found = Sandbox.objects.get(id=reserve(account))
    Sandbox.objects.filter(id=found.id).update(created_at=BEGAN)
    found.refresh_from_db()
    return found


def tell(
    sandbox: Sandbox, second: float, cpu_seconds: float, *, generation: int = 1, ended: bool = False
) -> None:
    """A whole GiB is held all the time."""
    memory = int(second * 1000 * GIB_KIB)
    meter = MeterInfo(sandbox.id, generation, int(cpu_seconds * 1e6), memory, ended)
    usage_count(meters=[meter], at=BEGAN + timedelta(seconds=second))


def test_ten_seconds_have_one_sample_and_the_end_has_its_own(sandbox: Sandbox) -> None:
    assert usage_history(sandbox) == []
    for second in (3, 6, 9, 12, 15):
        tell(sandbox, second, second / 2)
    tell(sandbox, 18, 18, ended=True)
    assert Sample.objects.filter(sandbox=sandbox).count() == 3
    points = usage_history(sandbox)
    assert [(point.at - BEGAN).total_seconds() for point in points] == [3, 12, 18]
    assert [round(point.cores, 3) for point in points] == [0.5, 0.5, 2.0]
    assert {point.memory for point in points} == {2**30}
    assert points[0].began == BEGAN


def test_a_long_run_has_no_more_points_than_asked_for_and_loses_nothing(sandbox: Sandbox) -> None:
    for number in range(300):
        tell(sandbox, number * 10 + 5, number * 10 + 5)
    points = usage_history(sandbox, points=20)
    assert 15 <= len(points) <= 24
    used = sum(point.cores * (point.at - point.began).total_seconds() for point in points)
    assert used == pytest.approx(2995, rel=0.001)


def test_nothing_is_said_about_the_time_between_two_meters(sandbox: Sandbox) -> None:
    tell(sandbox, 5, 5)
    tell(sandbox, 15, 1, generation=2)
    tell(sandbox, 25, 6, generation=2)
    assert [point.cores for point in usage_history(sandbox)] == [1.0, 0.5]


def test_samples_go_with_their_sandbox_and_a_stray_has_none(sandbox: Sandbox) -> None:
    tell(sandbox, 5, 5)
    stray = MeterInfo("sbx_stray", 1, 5, 5, ended=False)
    usage_count(meters=[stray], at=BEGAN)
    theirs = Sample.objects.filter(sandbox_id__in=[sandbox.id, stray.sandbox_id])
    assert theirs.count() == 1
    Sandbox.objects.filter(id=sandbox.id).delete()
    assert theirs.count() == 0
