"""Snapshots and forks in the console, in a real browser."""

from __future__ import annotations

from orkestr import Sandbox, Snapshot
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from accounts.models import AuditEntry
from sandboxes.models import Sandbox as Row
from sandboxes.models import Snapshot as SnapshotRow
from sandboxes.models import SnapshotStatus
from tests.cast import Cast
from tests.console.pages import open_timeline, shot, sign_in, watched

SPEC = {"template": "debian-12", "size": "small", "cpu": 1, "memory_mb": 1024, "network": "off"}
PLACE = {"region": "local", "node_id": "local", "source_id": "sbx_01K5ZZZZZZZZZZZZZZZZZZZZZZ"}


def test_an_operator_takes_a_snapshot_forks_it_and_deletes_it(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.files.write("/workspace/state", "as it was")
    complaints = watched(page)
    open_timeline(page, account.operator, sandbox.id)
    page.get_by_role("button", name="Take a snapshot").click()
    page.get_by_label("Name").fill("base")
    shot(page, "snapshot-dialog")
    page.get_by_role("button", name="Take snapshot").click()
    expect(page.locator(".notice")).to_contain_text("Snapshot base has its files")
    told = page.locator(".row[data-kind='snapshot.created']")
    expect(told).to_contain_text("base")
    expect(told).to_contain_text("no process ran in it")
    sandbox.files.write("/workspace/state", "changed since")

    page.locator("#details").get_by_role("link", name="Fork base").click()
    expect(page.get_by_role("heading", name="Fork of base")).to_be_visible()
    page.get_by_label("Metadata").fill("from=base")
    shot(page, "snapshot-fork")
    page.get_by_role("button", name="Create fork").click()
    expect(page.locator("#sandbox-head .pill")).to_have_text("Running")
    fork = Row.objects.filter(account=account.account).latest("id")
    assert fork.id != sandbox.id
    assert fork.metadata == {"from": "base"}
    assert Sandbox.get(fork.id).files.read("/workspace/state") == "as it was"

    page.goto("/sandboxes/")
    page.get_by_role("link", name="Snapshots").click()
    kept = page.locator(".list-row")
    expect(kept).to_contain_text("base")
    expect(kept).to_contain_text("No process ran in it, so there was no memory to keep.")
    shot(page, "snapshots")
    kept.get_by_role("button", name="Delete base").click()
    page.get_by_role("button", name="Delete snapshot").click()
    expect(page.get_by_role("heading", name="No snapshot yet")).to_be_visible()
    assert Snapshot.list() == []
    assert complaints == []
    entries = AuditEntry.objects.filter(account=account.account, action__startswith="snapshot.")
    assert set(entries.values_list("action", flat=True)) == {"snapshot.created", "snapshot.deleted"}


def test_what_a_snapshot_lacks_and_why_is_said_and_a_viewer_is_offered_nothing(
    page: Page, account: Cast
) -> None:
    made = {"account": account.account, **SPEC, **PLACE}
    why = "A terminal is open in it."
    SnapshotRow.objects.create(
        **made, name="warm", status=SnapshotStatus.READY, size_mb=12, why_no_memory=why
    )
    SnapshotRow.objects.create(**made, status=SnapshotStatus.FAILED, error="The disk is full.")
    sign_in(page, account.viewer, to="/sandboxes/snapshots/")
    rows = page.locator(".list-row")
    expect(rows.filter(has_text="warm")).to_contain_text("Files only, 12 MB")
    expect(rows.filter(has_text="warm")).to_contain_text(why)
    expect(rows.filter(has_text="Failed")).to_contain_text("The disk is full.")
    expect(page.get_by_text("1 of ")).to_be_visible()
    expect(rows.get_by_role("link", name="Fork")).to_have_count(0)
    expect(rows.get_by_role("button")).to_have_count(0)


def test_a_snapshot_beyond_the_plan_is_refused_with_what_to_do(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    plan = account.account.plan
    made = {"account": account.account, **SPEC, **PLACE, "status": SnapshotStatus.READY}
    SnapshotRow.objects.bulk_create(SnapshotRow(**made) for _ in range(plan.max_named_snapshots))
    open_timeline(page, account.operator, sandbox.id)
    page.get_by_role("button", name="Take a snapshot").click()
    page.get_by_role("button", name="Take snapshot").click()
    expect(page.locator(".notice")).to_contain_text("delete one, or change the plan")
