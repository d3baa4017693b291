"""What was written, and the files themselves, in a real browser on real sandboxes."""

from __future__ import annotations

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from tests.cast import Cast
from tests.console.pages import open_timeline, sign_in, watched

CODE = "def area(r):\n    return 3 * r * r\n\n\nprint(area(2))\n"
HOSTILE = "/workspace/<img src=x onerror=alert(1)>\u202egnp.\n.txt"


def test_a_write_shows_what_it_changed_on_the_timeline_and_in_its_files_history(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    complaints = watched(page)
    open_timeline(page, account.viewer, sandbox.id)
    sandbox.files.write("/workspace/area.py", CODE)
    sandbox.files.write("/workspace/area.py", CODE.replace("3 *", "3.14159 *"))
    sandbox.files.write_bytes("/workspace/blob", b"\0\1")
    rows = page.locator(".row[data-kind='file.written']")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Created")
    expect(rows.nth(1).locator(".diff-stat")).to_have_text("+1−1")
    expect(rows.nth(2)).to_contain_text("binary")
    expect(rows.nth(2).locator("details")).to_have_count(0)
    rows.nth(1).locator("summary").click(position={"x": 4, "y": 8})
    diff = rows.nth(1).locator(".diff")
    expect(diff.locator("[data-line='removed'] td:last-child")).to_have_text("    return 3 * r * r")
    expect(diff.locator("[data-line='added'] td:last-child")).to_have_text(
        "    return 3.14159 * r * r"
    )
    expect(diff.locator("[data-line='added'] .hl-k")).to_have_text("return")
    expect(diff.locator("[data-line='added'] td[data-n='2']")).to_have_count(1)
    expect(page.locator("#timeline")).to_have_attribute("data-live", "held")
    rows.nth(1).locator(".row-path").click()
    writes = page.locator(".write")
    expect(writes).to_have_count(2)
    expect(writes.nth(0)).to_contain_text("Written")
    expect(writes.nth(0).locator(".diff [data-line='added']")).to_have_count(1)
    expect(writes.nth(1)).to_contain_text("Created")
    expect(writes.nth(1).locator(".diff [data-line='added']")).to_have_count(5)
    writes.nth(0).get_by_role("link", name="#").click()
    expect(page.locator("[data-linked]")).to_have_attribute(
        "id", rows.nth(1).get_attribute("id") or ""
    )
    assert complaints == []


def test_hostile_names_and_text_are_shown_inert(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    evil = "<script>alert(1)</script>\r\n\x1b[31m\u202eevil\n"
    sandbox.files.write(HOSTILE, evil)
    complaints = watched(page)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    open_timeline(page, account.viewer, sandbox.id)
    row = page.locator(".row[data-kind='file.written']")
    shown = "/workspace/<img src=x onerror=alert(1)>⟨U+202E⟩gnp.␊.txt"
    expect(row.locator("code")).to_have_text(shown)
    row.locator("summary").click(position={"x": 4, "y": 8})
    lines = row.locator("[data-line='added'] td:last-child")
    expect(lines.nth(0)).to_have_text("<script>alert(1)</script>␍")
    expect(lines.nth(1)).to_have_text("␛[31m⟨U+202E⟩evil")
    row.locator(".row-path").click()
    expect(page.locator(".file-path")).to_have_text(shown)
    expect(page.locator(".write")).to_have_count(1)
    assert complaints == []


def test_another_accounts_writes_are_not_there(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.files.write("/workspace/a", "a")
    sign_in(page, other_account.owner)
    for address in ("files/history/?path=/workspace/a", "events/3/diff/"):
        answer = page.goto(f"/sandboxes/{sandbox.id}/{address}")
        assert answer is not None
        assert answer.status == 404
