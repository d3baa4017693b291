"""The Usage page: what an account spends, and on what."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEntry, User
from sandboxes.models import Sandbox, Status
from sandboxes.usage.services import usage_count
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched
from tests.sandboxes.usage.test_counting import HOUR_OF_CPU, HOUR_OF_GB, told
from tests.stack import Stack


def used(cast: Cast, *hours: float, at: datetime | None = None, token: str | None = None) -> str:
    """A running sandbox that was so busy on each of the days up to now; the last is today's."""
    row = cast.sandbox_row(status=Status.RUNNING)
    Sandbox.objects.filter(id=row.id).update(token_id=token)
    total, now = 0.0, at or timezone.now()
    for ago, each in enumerate(reversed(hours)):
        total += each
        when = now - timedelta(days=len(hours) - 1 - ago)
        meter = told(row.id, int(total * HOUR_OF_CPU), int(total * HOUR_OF_GB / 2))
        usage_count(meters=[meter], at=when)
    return row.id


def reader(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def lines(stack: Stack, user: User, path: str) -> list[dict[str, str]]:
    cookies = {name: morsel.value for name, morsel in reader(user).cookies.items()}
    answer = httpx.get(f"{stack.url}{path}", cookies=cookies, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_a_month_is_shown_in_charts_that_are_tables_too(
    page: Page, stack: Stack, account: Cast
) -> None:
    token = account.mint(name="night run").token
    dear = used(account, 40, 25, 60, 10, 32, 80, 55, token=token.id)
    used(account, 12, 4)
    complaints = watched(page)
    sign_in(page, account.viewer, to="/usage/")
    expect(page.locator("nav[aria-label=Main] [aria-current]")).to_have_text("Usage")
    expect(page.locator("#day-chart canvas")).to_be_visible()
    today = page.locator("#days tbody tr").first
    expect(today).to_contain_text(f"{timezone.now():%a} {timezone.now().day}")
    for heading in ("By sandbox", "By template", "By token", "Running now"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    row = page.get_by_role("table", name="By sandbox").get_by_role("row").filter(has_text=dear[-8:])
    expect(row).to_contain_text("€")
    expect(page.get_by_role("table", name="By token")).to_contain_text("night run")
    expect(page.locator(".counts")).to_contain_text("left of €25.00 credit")
    shot(page, "usage")
    page.set_viewport_size({"width": 390, "height": 1500})
    shot(page, "usage-phone")
    page.locator("summary", has_text="CSV").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="By sandbox", exact=True).click()
    assert download.value.suggested_filename == f"usage-{timezone.now():%Y-%m}-by-sandbox.csv"
    page.goto("/usage/?month=2020-02")
    expect(page.locator(".empty")).to_contain_text("No sandbox ran in February 2020.")
    assert complaints == []


def test_an_owner_caps_the_month_and_others_do_not(page: Page, stack: Stack, account: Cast) -> None:
    used(account, 40)
    sign_in(page, account.owner, to="/usage/")
    page.get_by_role("button", name="Set a cap").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Euros a month").fill("2.20")
    dialog.get_by_role("button", name="Set cap").click()
    expect(page.locator(".counts")).to_contain_text("95 % of the cap of €2.20")
    page.get_by_role("button", name="Change the cap").click()
    dialog.get_by_label("Euros a month").fill("1.50")
    dialog.get_by_role("button", name="Set cap").click()
    expect(page.get_by_role("alert")).to_contain_text("The cap of €1.50 for this month is spent")
    for person, status in ((account.viewer, 403), (account.operator, 403), (account.owner, 302)):
        assert reader(person).post("/usage/cap/", {"monthly_eur": ""}).status_code == status
    entries = AuditEntry.objects.filter(account=account.account, action="account.cap_changed")
    assert [entry.after["monthly_eur"] for entry in entries.order_by("id")] == ["2.2", "1.5", None]


def test_a_run_s_budget_is_set_on_its_page(page: Page, stack: Stack, account: Cast) -> None:
    row = account.sandbox_row(status=Status.PAUSED)
    Sandbox.objects.filter(id=row.id).update(reason="budget_reached", paused_at=timezone.now())
    sign_in(page, account.operator, to=f"/sandboxes/{row.id}/")
    expect(page.locator("#sandbox-head")).to_contain_text("budget reached")
    page.locator("#details").get_by_role("button", name="Change").click()
    page.get_by_role("dialog").get_by_label("Euros").fill("0.75")
    page.get_by_role("dialog").get_by_role("button", name="Set budget").click()
    expect(page.locator("#details")).to_contain_text("€0.75, then pause")
    expect(page.locator('[data-kind="sandbox.budget_changed"]')).to_contain_text("set to €0.75")
    assert reader(account.viewer).post(f"/sandboxes/{row.id}/budget/").status_code == 403


def test_the_page_asks_the_same_few_questions_however_much_there_is(
    account: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = reader(account.viewer)
    used(account, 1)
    with django_assert_num_queries(11):
        client.get("/usage/")
    for _ in range(5):
        used(account, 1, 2, 3, token=account.mint().token.id)
    with django_assert_num_queries(11):
        client.get("/usage/")


def test_csv_has_a_line_for_each_day_sandbox_and_hour(stack: Stack, account: Cast) -> None:
    token = account.mint(name="ci").token
    noon = datetime(2020, 2, 20, 12, tzinfo=UTC)
    one = used(account, 2, 1, at=noon, token=token.id)
    other = used(account, 4, at=noon)
    person = account.operator
    days = lines(stack, person, "/usage/by-day.csv?month=2020-02")
    assert [(line["day"], line["token"], line["cpu_hours"]) for line in days] == [
        ("2020-02-19", "ci", "1.000000"),
        ("2020-02-20", "", "4.000000"),
        ("2020-02-20", "ci", "2.000000"),
    ]
    runs = lines(stack, person, "/usage/by-sandbox.csv?month=2020-02")
    assert [line["sandbox_id"] for line in runs] == [one, other]
    assert [line["memory_gb_hours"] for line in runs] == ["1.500000", "2.000000"]
    hours = lines(stack, person, "/usage/by-hour.csv?month=2020-02")
    assert [(line["hour"], line["sandbox_id"]) for line in hours] == [
        ("2020-02-19T12:00:00+00:00", one),
        ("2020-02-20T12:00:00+00:00", one),
        ("2020-02-20T12:00:00+00:00", other),
    ]
    assert sum(float(line["eur"]) for line in hours) == sum(float(line["eur"]) for line in runs)


def test_a_name_is_never_a_formula(stack: Stack, account: Cast) -> None:
    token = account.mint(name='=HYPERLINK("https://evil.example","x")').token
    used(account, 1, token=token.id)
    for name in ("+1", "-1", "@SUM(A1)"):
        used(account, 1, token=account.mint(name=name).token.id)
    found = lines(stack, account.owner, "/usage/by-sandbox.csv")
    assert {line["token"][:2] for line in found} == {"'=", "'+", "'-", "'@"}


@pytest.mark.parametrize("by", ["day", "sandbox", "hour"])
def test_another_account_s_usage_is_in_no_file(
    stack: Stack, account: Cast, other_account: Cast, by: str
) -> None:
    used(other_account, 1)
    assert lines(stack, account.owner, f"/usage/by-{by}.csv") == []
    assert "Nothing was used yet" in reader(account.owner).get("/usage/").content.decode()


def test_who_took_a_file_is_in_the_audit_record(stack: Stack, account: Cast) -> None:
    lines(stack, account.operator, "/usage/by-day.csv?month=2020-02")
    entry = AuditEntry.objects.get(account=account.account, action="usage.exported")
    assert entry.after == {"month": "2020-02", "by": "day"}
    assert reader(account.operator).get("/usage/by-week.csv").status_code == 404
