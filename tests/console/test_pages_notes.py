"""Notes, pins and holding a run, in real browsers beside each other."""

from __future__ import annotations

import re

import pytest
from orkestr import OrkestrError, Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Browser, Page, expect

from accounts.models import AuditEntry
from sandboxes.notes import event_pin, event_unpin, notes_of
from tests.cast import Cast
from tests.console.pages import card, open_timeline, shot, sign_in, watched
from tests.stack import Stack
from timeline.models import EventRow


def _kinds(sandbox_id: str) -> list[str]:
    rows = EventRow.objects.filter(sandbox_id=sandbox_id, kind__startswith="note.")
    return list(rows.order_by("seq").values_list("kind", flat=True))


def test_people_write_and_pin_and_others_see_it_at_once(
    page: Page, browser: Browser, stack: Stack, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.exec("echo <b>loud</b>")
    complaints = watched(page)
    open_timeline(page, account.operator, sandbox.id)
    other = browser.new_context(base_url=stack.url)
    try:
        viewer = other.new_page()
        open_timeline(viewer, account.viewer, sandbox.id)
        expect(viewer.locator("#note-form")).to_have_count(0)
        expect(viewer.locator("#notes")).to_contain_text("Nobody wrote or pinned")

        chosen = card(page, "echo <b>loud</b>")
        chosen.hover()
        page.get_by_role("button", name=re.compile("^Pin #")).click()
        expect(chosen).to_have_attribute("data-pinned", "")
        seen = viewer.locator(".pins li")
        expect(seen).to_contain_text("echo <b>loud</b>")
        expect(card(viewer, "echo <b>loud</b>")).to_have_attribute("data-pinned", "")
        expect(viewer.get_by_role("button", name="Unpin")).to_have_count(0)

        chosen.hover()
        page.keyboard.press("n")
        expect(page.locator(".note-about")).to_contain_text("echo <b>loud</b>")
        page.get_by_label("Note on this run").fill("why <i>this</i>?\nask")
        page.keyboard.press("Control+Enter")
        expect(viewer.locator(".a-note")).to_contain_text("why <i>this</i>?")
        expect(viewer.locator(".a-note")).to_contain_text("Operator")
        row = viewer.locator(".row[data-kind='note.added']")
        expect(row).to_contain_text("why <i>this</i>?")
        expect(row.locator(".chip")).to_contain_text("Operator")

        page.get_by_role("button", name="Edit").click()
        page.get_by_label("Note on this run").fill("settled")
        page.get_by_role("button", name="Save").click()
        expect(viewer.locator(".a-note footer")).to_contain_text("edited")
        expect(row.locator(".note-text")).to_have_text("settled")
        shot(page, "notes")
        page.set_viewport_size({"width": 390, "height": 800})
        shot(page, "notes-phone")
        page.set_viewport_size({"width": 1280, "height": 720})
        page.get_by_role("button", name="Remove this note").click()
        expect(viewer.locator(".a-note")).to_have_count(0)
        undo = page.get_by_role("button", name="Undo")
        expect(undo).to_be_visible()
        for change, count in ((event_pin, 2), (event_unpin, 1)):  # the list comes anew
            change(principal=account.principal(), sandbox_id=sandbox.id, seq=1)
            expect(page.locator(".pins li")).to_have_count(count)
        undo.click()
        expect(viewer.locator(".a-note-text")).to_have_text("settled")

        page.get_by_role("button", name="Unpin").first.click()
        expect(seen).to_have_count(0)
        expect(card(viewer, "echo <b>loud</b>")).not_to_have_attribute("data-pinned", "")
    finally:
        other.close()
    told = ["pinned", "added", "edited", "removed", "pinned", "unpinned", "restored", "unpinned"]
    assert _kinds(sandbox.id) == [f"note.{kind}" for kind in told]
    assert complaints == []


def test_an_operator_holds_a_run_and_no_token_wakes_it(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", auto_resume=True, client=sandbox_client)
    complaints = watched(page)
    open_timeline(page, account.operator, sandbox.id)
    head = page.locator("#sandbox-head")
    head.get_by_role("button", name="Hold this run").click()
    dialog = page.locator("#hold")
    expect(dialog).to_contain_text("Tokens cannot resume it")
    shot(page, "hold-dialog")
    dialog.get_by_label("Why").fill("looks at the disk")
    dialog.get_by_role("button", name="Hold this run").click()
    expect(head.locator(".held")).to_contain_text("held by Operator since")
    expect(head.get_by_role("button", name="Resume")).to_have_count(0)
    expect(page.locator(".row[data-kind='note.added']")).to_contain_text("Held this run")
    shot(page, "held")
    page.set_viewport_size({"width": 390, "height": 800})
    shot(page, "held-phone")
    page.set_viewport_size({"width": 1280, "height": 720})
    with pytest.raises(OrkestrError, match="Operator holds this run"):
        Sandbox.resume(sandbox.id)
    with pytest.raises(OrkestrError, match="Operator holds this run"):
        sandbox.exec("true")

    head.get_by_role("button", name="Let it go on").click()
    page.locator("#release").get_by_label("What you found").fill("it was full")
    page.locator("#release").get_by_role("button", name="Let it go on").click()
    expect(head.locator(".pill")).to_have_text("Running")
    expect(head.locator(".held")).to_have_count(0)
    assert sandbox.exec("echo on").stdout == "on\n"
    notes = [note.text for note in notes_of(sandbox_id=sandbox.id).notes]
    assert notes == ["it was full", "looks at the disk"]
    actions = AuditEntry.objects.filter(target=sandbox.id).values_list("action", flat=True)
    assert {"sandbox.held", "sandbox.released"} <= set(actions)
    assert complaints == []


def test_the_pages_of_a_held_run_say_so_to_a_viewer(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.pause()
    sign_in(page, account.owner, to=f"/sandboxes/{sandbox.id}/terminal/")
    page.get_by_role("button", name="Hold this run").click()
    page.locator("#hold").get_by_role("button", name="Hold this run").click()
    expect(page.locator(".held")).to_contain_text("held by Owner")
    page.context.clear_cookies()
    sign_in(page, account.viewer, to=f"/sandboxes/{sandbox.id}/metrics/")
    expect(page.locator(".held")).to_contain_text("held by Owner")
    expect(page.get_by_role("button", name="Let it go on")).to_have_count(0)
