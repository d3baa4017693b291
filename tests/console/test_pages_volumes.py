"""Volumes on the console's pages: the create form offers them, a sandbox's page shows its own."""

from __future__ import annotations

from orkestr import Sandbox, Volume
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from sandboxes.models import Sandbox as Row
from tests.cast import Cast
from tests.console.pages import sign_in, watched


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
