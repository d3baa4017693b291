"""Volumes on the console's pages: the create form offers them, a sandbox's page shows its own."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from orkestr import Sandbox, Volume
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from accounts.models import AuditEntry
from sandboxes.models import Sandbox as Row
from sandboxes.models import Status
from sandboxes.models import Volume as VolumeRow
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched


def test_a_sandbox_made_on_the_page_has_the_volume_that_was_named(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    with Sandbox.create(template="debian-12", volume="agent-memory") as first:
        first.files.write("/persist/notes", "kept")
    sign_in(page, account.operator, to="/sandboxes/new/")
    offered = page.locator("#volumes option")
    expect(offered).to_have_attribute("value", "agent-memory")
    expect(offered).to_have_text("10 GB, free")
    page.get_by_label("Volume").fill("agent-memory")
    page.get_by_role("button", name="Create sandbox").click()
    told = page.locator(".row[data-kind='volume.attached']")
    expect(told).to_contain_text("Volume agent-memory at /persist")
    details = page.locator("#details")
    expect(details).to_contain_text("agent-memory, 10 GB")
    expect(details).to_contain_text("kept when this sandbox ends")
    made = Row.objects.filter(account=account.account).latest("id")
    assert Sandbox.get(made.id).files.read("/persist/notes") == "kept"

    page.get_by_role("button", name="Terminate").click()
    expect(page.locator("#terminate")).to_contain_text("in the volume agent-memory stays")
    page.get_by_role("button", name="Keep it").click()
    page.goto(page.url.split("/sandboxes/")[0] + "/sandboxes/")
    expect(page.locator(f"#row-{made.id}")).to_contain_text("volume agent-memory")
    assert complaints == []


def test_one_that_is_in_use_is_shown_so_and_refused_with_what_was_typed_kept(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    holder = Sandbox.create(template="debian-12", volume="data")
    sign_in(page, account.operator, to="/sandboxes/new/")
    expect(page.locator("#volumes option")).to_contain_text("in use by")
    page.get_by_label("Volume").fill("data")
    page.get_by_role("button", name="Create sandbox").click()
    expect(page.locator(".notice")).to_contain_text(f"in use by sandbox {holder.id}")
    expect(page.get_by_label("Volume")).to_have_value("data")
    page.get_by_label("Volume").fill("not a name")
    page.get_by_role("button", name="Create sandbox").click()
    expect(page.locator(".notice")).to_contain_text("A volume's name has")


def test_a_volume_deleted_since_is_still_named(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    with Sandbox.create(template="debian-12", volume="gone") as sandbox:
        pass
    Volume.delete(Volume.list()[0].id)
    sign_in(page, account.viewer, to=f"/sandboxes/{sandbox.id}/")
    expect(page.locator("#details")).to_contain_text("gone, deleted since")


def test_an_operator_makes_a_volume_gives_it_a_lifetime_and_deletes_it(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    sign_in(page, account.operator, to="/sandboxes/")
    page.get_by_role("link", name="Volumes").click()
    expect(page.get_by_role("heading", name="No volume yet")).to_be_visible()
    expect(page.locator("#volume-snippet")).to_contain_text('volume="memory"')
    shot(page, "volumes-none")
    page.get_by_role("button", name="New volume").click()
    make = page.locator("#make")
    make.get_by_label("Name").fill("not a name")
    make.get_by_role("button", name="Make volume").click()
    expect(make).to_contain_text("A volume's name has 1 to 64 letters")
    make.get_by_label("Name").fill("agent-memory")
    make.get_by_label("Size in GB").fill("0.25")
    make.get_by_role("button", name="Make volume").click()
    row = page.locator(".list-row")
    expect(row).to_contain_text("0 B of 256 MB")
    expect(row).to_contain_text("For ever")
    expect(row).to_contain_text("Never")

    row.get_by_role("link", name="New sandbox with agent-memory").click()
    expect(page.get_by_label("Volume")).to_have_value("agent-memory")
    page.get_by_role("button", name="Create sandbox").click()
    page.locator("#details").get_by_role("link", name="agent-memory").click()
    expect(row).to_contain_text("In use")
    expect(row).to_contain_text("KB of 256 MB")
    row.get_by_role("button", name="Lifetime of agent-memory").click()
    page.locator("dialog[open]").get_by_role("textbox").fill("30")
    shot(page, "volumes-lifetime")
    page.get_by_role("button", name="Set lifetime").click()
    expect(row).to_contain_text("30 days in all")
    row.get_by_role("button", name="Delete agent-memory").click()
    expect(page.locator("dialog[open]")).to_contain_text("agent-memory is in use")
    page.locator("dialog[open]").get_by_role("link").click()
    holder = Row.objects.filter(account=account.account).latest("id")
    expect(page.locator("#sandbox-head")).to_contain_text(holder.id[-8:])
    Sandbox.get(holder.id).terminate()

    page.goto("/sandboxes/volumes/")
    expect(row).to_contain_text("ago")
    row.get_by_role("button", name="Delete agent-memory").click()
    shot(page, "volumes-delete")
    page.get_by_role("button", name="Delete volume").click()
    expect(page.locator(".notice")).to_contain_text("Volume agent-memory is deleted.")
    expect(page.get_by_role("heading", name="No volume yet")).to_be_visible()
    assert Volume.list() == []
    entries = AuditEntry.objects.filter(account=account.account, action__startswith="volume.")
    assert set(entries.values_list("action", flat=True)) == {
        "volume.created",
        "volume.updated",
        "volume.deleted",
    }
    assert [one for one in complaints if "status of 422" not in one] == []


def test_volumes_are_listed_with_their_time_and_a_viewer_is_offered_nothing(
    page: Page, account: Cast
) -> None:
    now = timezone.now()
    for name, days in {"young": 1, "old": 29}.items():
        VolumeRow.objects.create(
            account=account.account,
            name=name,
            size_mb=2048,
            max_lifetime_days=30,
            created_at=now - timedelta(days=days),
            expires_at=now + timedelta(days=30 - days),
        )
    old = VolumeRow.objects.filter(account=account.account, name="old")
    account.running_sandbox(volume=old.get(), volume_name="old")
    old.update(expires_at=now - timedelta(days=10))  # held by then, or it would be deleted
    sign_in(page, account.viewer, to="/sandboxes/volumes/")
    rows = page.locator(".list-row")
    expect(page.get_by_text("2 of ")).to_be_visible()
    expect(rows.filter(has_text="old")).to_contain_text("deleted when it is free")
    expect(rows.filter(has_text="young")).to_contain_text("28 days more")
    expect(rows.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("button", name="New volume")).to_have_count(0)


def test_a_lifetime_that_is_past_or_makes_no_sense_changes_nothing(
    page: Page, account: Cast
) -> None:
    made = VolumeRow.objects.create(
        account=account.account,
        name="kept",
        size_mb=256,
        created_at=timezone.now() - timedelta(days=9),
    )
    account.sandbox_row(status=Status.TERMINATED, ended_at=timezone.now(), volume=made)
    sign_in(page, account.operator, to="/sandboxes/volumes/")
    for amount, said in (("9", "past already for kept"), ("4000", "1 to 3650 days")):
        page.get_by_role("button", name="Lifetime of kept").click()
        page.locator("dialog[open]").get_by_role("textbox").fill(amount)
        page.get_by_role("button", name="Set lifetime").click()
        expect(page.locator(".notice")).to_contain_text(said)
    made.refresh_from_db()
    assert made.expires_at is None
    assert made.deleted_at is None
