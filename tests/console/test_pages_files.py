"""What was written, and the files themselves, in a real browser on real sandboxes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlencode

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
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


def tab(sandbox: Sandbox, path: str = "/workspace") -> str:
    return f"/sandboxes/{sandbox.id}/files/?{urlencode({'path': path})}"


def open_files(page: Page, user: User, sandbox: Sandbox, path: str = "/workspace") -> Locator:
    """Signed in and on the tab; what its pane shows."""
    sign_in(page, user, to=f"/sandboxes/{sandbox.id}/")
    page.goto(tab(sandbox, path))
    expect(page.locator(".pane-head")).to_be_visible()
    return page.locator("#file-pane")


def test_files_are_walked_shown_edited_and_kept_in_order(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.files.write("/workspace/src/area.py", CODE)
    complaints = watched(page)
    pane = open_files(page, account.operator, sandbox)
    tree = page.get_by_role("tree")
    expect(page.locator(".box-tabs [aria-current]")).to_have_text("Files")
    tree.get_by_role("treeitem", name="workspace").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
        if key == "ArrowRight":
            expect(tree.get_by_role("treeitem", name="area.py")).to_be_visible()
    expect(pane.locator(".source .hl-k").first).to_have_text("def")
    expect(page).to_have_url(re.compile(r"area\.py$"))
    page.keyboard.press("e")
    field = pane.get_by_role("textbox")
    expect(field).to_be_focused()
    expect(field).to_have_value(CODE)
    page.reload()
    expect(tree.locator("[aria-selected]")).to_have_text("area.py")
    field.fill(CODE.replace("3 *", "3.2 *"))
    expect(pane.get_by_text("Not saved yet")).to_be_visible()
    page.keyboard.press("Control+s")
    expect(pane.locator(".source")).to_contain_text("3.2 *")
    assert sandbox.files.read("/workspace/src/area.py") == CODE.replace("3 *", "3.2 *")

    pane.get_by_role("link", name="Rename").click()
    pane.get_by_label("New name").fill("circle.py")
    pane.get_by_role("button", name="Rename").click()
    expect(pane.locator(".crumbs b")).to_have_text("circle.py")
    expect(tree.get_by_role("treeitem", name="circle.py")).to_have_attribute(
        "aria-selected", "true"
    )
    expect(tree.get_by_role("treeitem", name="area.py")).to_have_count(0)
    pane.get_by_role("link", name="src").click()
    expect(pane.locator(".crumbs b")).to_have_text("src")
    for kind, name in (("File", "empty.txt"), ("Folder", "lib")):
        pane.get_by_role("link", name=kind, exact=True).click()
        pane.get_by_label("Name").locator("visible=true").fill(name)
        pane.get_by_role("button", name=f"Create {kind.lower()}").click()
        expect(pane.locator(".crumbs b")).to_have_text(name)
        pane.get_by_role("link", name="src").click()
        expect(pane.locator(".crumbs b")).to_have_text("src")
    pane.get_by_role("link", name="Folder", exact=True).click()
    pane.get_by_label("Name").locator("visible=true").fill("lib")
    pane.get_by_role("button", name="Create folder").click()
    expect(page.locator(".toasts")).to_contain_text("exists already")
    page.keyboard.press("Escape")
    pane.get_by_role("link", name="Delete").click()
    asked = pane.get_by_role("dialog", name="Delete src?")
    expect(asked).to_contain_text("/workspace/src")
    expect(asked).to_contain_text("3 entries")
    pane.get_by_role("button", name="Delete folder").click()
    expect(pane.get_by_text("Nothing in here")).to_be_visible()
    assert sandbox.files.list("/workspace") == []
    assert [one for one in complaints if "422" not in one] == []


def test_a_file_that_changed_meanwhile_is_not_written_over(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.files.write("/workspace/a.txt", "one\r\ntwo\r\n")
    pane = open_files(page, account.operator, sandbox, "/workspace/a.txt")
    page.keyboard.press("e")
    field = pane.get_by_role("textbox")
    field.fill("one\nmine\n")
    sandbox.exec("printf 'one\\r\\ntheirs\\r\\n' > a.txt")
    pane.get_by_role("button", name="Save").click()
    expect(pane.get_by_role("alert").first).to_contain_text("changed this file while you")
    expect(pane.locator("[data-line='removed'] td:last-child")).to_have_text("theirs␍")
    expect(pane.locator("[data-line='added'] td:last-child")).to_have_text("mine␍")
    expect(field).to_have_value("one\nmine\n")
    assert sandbox.files.read("/workspace/a.txt") == "one\r\ntheirs\r\n"
    pane.get_by_role("button", name="Save mine over it").click()
    expect(pane.locator(".source")).to_contain_text("mine")
    assert sandbox.files.read("/workspace/a.txt") == "one\r\nmine\r\n"


def test_files_are_uploaded_by_button_and_drop_and_downloaded_whatever_their_size(
    page: Page, account: Cast, sandbox_client: OrkestrClient, tmp_path: Path
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(1024) * 30 * 1024)
    picture = tmp_path / "dot.png"
    Image.new("RGB", (3, 2), "red").save(picture)
    pane = open_files(page, account.operator, sandbox)
    pane.locator("#upload-files").set_input_files([large, picture])
    expect(pane.get_by_role("link", name="large.bin")).to_be_visible()
    expect(page.get_by_role("treeitem", name="large.bin")).to_be_visible()
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["dropped"], "drop <b>.txt"));
            const target = document.querySelector("#files");
            target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }"""
    )
    expect(pane.get_by_role("link", name="drop <b>.txt")).to_be_visible()
    assert sandbox.files.read("/workspace/drop <b>.txt") == "dropped"
    pane.get_by_role("link", name="large.bin").click()
    with page.expect_download() as download:
        pane.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == large.read_bytes()
    page.goto(tab(sandbox, "/workspace/dot.png"))
    shown = pane.locator("img")
    expect(shown).to_be_visible()
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert shown.evaluate(size) == [3, 2]
    answer = page.request.get(str(shown.get_attribute("src")))
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "image/png"
    sandbox.files.write("/workspace/evil.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    drawing = page.request.get(f"/sandboxes/{sandbox.id}/files/image/?path=/workspace/evil.svg")
    assert drawing.status == 415


def test_large_folders_and_hostile_names_are_shown(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.exec("mkdir many && cd many && seq -f n%05g 9999 | xargs touch && touch $'bad\\xff'")
    sandbox.files.write(HOSTILE, "text")
    deep = "/workspace/" + "/".join(["d" * 250] * 15)
    sandbox.files.write(f"{deep}/end.txt", "deep")
    complaints = watched(page)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    pane = open_files(page, account.viewer, sandbox)
    name = "<img src=x onerror=alert(1)>⟨U+202E⟩gnp.␊.txt"
    pane.get_by_role("link", name=name).click()
    expect(pane.locator(".source")).to_have_text("text")
    for word in ("Edit", "Rename", "Delete"):
        expect(pane.get_by_role("link", name=word)).to_have_count(0)
    page.goto(tab(sandbox, "/workspace/many"))
    expect(pane.locator("tbody tr")).to_have_count(250)
    expect(pane.get_by_text("bad�")).to_be_visible()
    expect(pane.get_by_role("link", name="bad�")).to_have_count(0)
    pane.get_by_role("link", name="Next page").click()
    expect(pane.locator("tbody tr").first).to_contain_text("n00250")
    expect(page.get_by_role("treeitem", name="n0")).to_have_count(249)
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("treeitem", name="n0")).to_have_count(499, timeout=15_000)
    page.goto(tab(sandbox, f"{deep}/end.txt"))
    expect(pane.locator(".source")).to_have_text("deep")
    page.goto(tab(sandbox, "/workspace/nothing"))
    expect(pane.get_by_role("heading", name="It is not there")).to_be_visible()
    assert [one for one in complaints if "404" not in one] == []


def test_a_viewer_changes_nothing_and_others_see_nothing(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.files.write("/workspace/a", "a")
    changes = ("new", "rename", "delete", "upload", "link", "edit")
    for user, status in ((account.viewer, {403, 422}), (other_account.owner, {404})):
        page.context.clear_cookies()
        sign_in(page, user)
        csrf = next(c["value"] for c in page.context.cookies() if c["name"] == "orkestr_csrf")
        form: dict[str, str | float | bool] = {
            **{"path": "/workspace/a", "name": "b", "content": "b"},
            "csrfmiddlewaretoken": csrf,
        }
        for change in changes:
            answer = page.request.post(f"/sandboxes/{sandbox.id}/files/{change}/", form=form)
            assert answer.status in status, (user, change, answer.status)
    for part in ("", "tree/", "image/", "download/"):
        answer = page.request.get(f"/sandboxes/{sandbox.id}/files/{part}?path=/workspace/a")
        assert answer.status == 404, part
    assert sandbox.files.read("/workspace/a") == "a"
    assert [entry.name for entry in sandbox.files.list("/workspace")] == ["a"]


def test_a_sandbox_that_does_not_run_says_where_its_files_are(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.files.write("/workspace/a.txt", "a")
    sandbox.pause()
    sign_in(page, account.operator, to=f"/sandboxes/{sandbox.id}/")
    page.goto(tab(sandbox))
    expect(page.get_by_role("heading", name="Paused, with its files")).to_be_visible()
    lines = page.request.get(f"/sandboxes/{sandbox.id}/files/tree/?path=/workspace")
    assert (lines.status, "is paused" in lines.text()) == (422, True)
    page.locator("#file-pane").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("treeitem", name="a.txt")).to_be_visible()
    sandbox.terminate()
    page.goto(tab(sandbox))
    expect(page.get_by_role("heading", name="Its files went with it")).to_be_visible()
    page.get_by_role("link", name="/workspace/a.txt").click()
    expect(page.locator(".write")).to_contain_text("Created")
