"""Runs as files: whole, inert, without secrets, and played offline by a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.test import Client
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Browser, Page, expect

from accounts.models import AuditEntry
from console.exports.redact import REDACTED, Redactor, redact
from tests.cast import Cast
from tests.console.pages import open_timeline, shot, sign_in
from timeline.events import Actor, Kind, NewEvent
from timeline.selectors import last_seq
from timeline.services import events_append

SECRETS = (
    "ork_" + "A" * 32,
    "AKIA" + "B" * 16,
    "ghp_" + "c" * 36,
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "someone@example.org",
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE += "\x1b]52;c;ZXZpbA==\x07\u202e"
PERSON = Actor("person", id="7", name="Ada Lovelace")


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_redacted_wherever_output_is_cut(secret: str) -> None:
    text = f"before {secret}\nafter"
    expected = f"before {REDACTED}\nafter"
    assert redact(text) == expected
    for cut in range(len(text)):
        redactor = Redactor()
        said = redactor.add("s", text[:cut]) + redactor.add("s", text[cut:]) + redactor.end("s")
        assert said == expected, cut


def test_a_private_key_goes_as_a_whole_in_any_pieces() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----"
    text = f"x\n{key}\ny"
    for size in (1, 7, 30, 1000):
        redactor = Redactor()
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        said = "".join(redactor.add("s", piece) for piece in pieces) + redactor.end("s")
        assert said == f"x\n{REDACTED}\ny", size


def test_endless_text_without_a_space_is_passed_on() -> None:
    redactor = Redactor()
    total = sum(len(redactor.add("s", "x" * 1000)) for _ in range(100)) + len(redactor.end("s"))
    assert total == 100_000


def _exported(page: Page, account: Cast, sandbox_id: str, form: str) -> str:
    if "/login" in page.url or page.url == "about:blank":
        sign_in(page, account.viewer, to="/docs/")
    answer = page.request.get(f"/sandboxes/{sandbox_id}/export/{form}/")
    assert answer.ok
    return answer.text()


def _hostile_run(sandbox_id: str) -> int:
    span, half = "cmd_1", len(SECRETS[0]) // 2
    started = {"command": f"echo {HOSTILE} {SECRETS[1]}", "cwd": f"/{HOSTILE}"}
    texts = [f"\x1b[31mred {SECRETS[0][:half]}", f"{SECRETS[0][half:]} end\x1b[0m\n", HOSTILE]
    events = [NewEvent(Kind.COMMAND_STARTED, started, PERSON, span)]
    events += [
        NewEvent(Kind.COMMAND_OUTPUT, {"stream": "stdout", "text": text}, PERSON, span)
        for text in texts
    ]
    events += [
        NewEvent(Kind.COMMAND_EXITED, {"exit_code": 3, "duration_ms": 1200}, PERSON, span),
        NewEvent(Kind.FILE_WRITTEN, {"path": HOSTILE, "diff": f"-a\n+{HOSTILE}\n"}, PERSON),
        NewEvent(Kind.NETWORK_DENIED, {"host": HOSTILE}, PERSON),
        NewEvent(Kind.COMMAND_STARTED, {"command": "true"}, PERSON, "cmd_2"),
        NewEvent(Kind.COMMAND_EXITED, {"exit_code": 0, "duration_ms": 2}, PERSON, "cmd_2"),
    ]
    events_append(sandbox_id=sandbox_id, events=events)
    return len(events)


def test_the_offline_page_plays_and_nothing_in_it_is_alive(
    page: Page, browser: Browser, account: Cast, tmp_path: Path
) -> None:
    sandbox_id = account.ended_sandbox()
    count = _hostile_run(sandbox_id)
    html = _exported(page, account, sandbox_id, "html")
    for gone in (*SECRETS[:2], "Ada", "<script>alert", "<img", "\x1b", "http:", "https:"):
        assert gone not in html, gone
    run = html.partition('id="run">\n')[2].partition("</main>")[0]
    assert run.count("\n") == count, "an event is a line"
    file = tmp_path / "run.html"
    file.write_text(html)

    context = browser.new_context(offline=True)
    try:
        alone = context.new_page()
        asked: list[str] = []
        alone.on("request", lambda request: asked.append(request.url))
        alone.on("dialog", lambda dialog: pytest.fail(dialog.message))
        alone.goto(file.as_uri())
        card = alone.locator("section").first
        expect(card).to_have_attribute("data-state", "bad")
        expect(card.locator(".box")).to_contain_text("red [redacted] end")
        expect(card.locator(".ansi-fg-1").last).to_have_text("[redacted] end")
        expect(card.locator(".end")).to_have_text("exit 3, 1.2 s")
        shot(alone, "offline")
        alone.get_by_label("Moment of the run").fill("0")
        alone.get_by_label("Failed only").check()
        expect(alone.locator("section:visible")).to_have_count(1)
        alone.get_by_label("Failed only").uncheck()
        alone.get_by_label("Play").click()
        expect(alone.locator("section:visible")).to_have_count(2)
        alone.set_viewport_size({"width": 390, "height": 800})
        shot(alone, "offline-phone")
        assert asked == [file.as_uri()]
    finally:
        context.close()


def test_an_asciicast_is_ordered_and_holds_colours_alone(page: Page, account: Cast) -> None:
    sandbox_id = account.ended_sandbox()
    _hostile_run(sandbox_id)
    text = _exported(page, account, sandbox_id, "cast")
    header, *lines = [json.loads(line) for line in text.splitlines()]
    assert (header["version"], header["title"]) == (2, sandbox_id)
    times = [line[0] for line in lines]
    assert times == sorted(times)
    shown = "".join(line[2] for line in lines)
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    assert SECRETS[0] not in shown
    assert f"red {REDACTED} end" in shown
    assert "[exit 3, 1.2 s]" in shown


def test_an_asciicast_has_the_text_of_terminals_in_its_place(page: Page, account: Cast) -> None:
    sandbox_id = account.ended_sandbox()
    texts = ("\x1b[?2004h$ l\bls\r\n", f"a.py {SECRETS[0][:9]}", f"{SECRETS[0][9:]}\x1b[2J\r\n$ ")
    span = "trm_1"
    events = [
        NewEvent(Kind.TERMINAL_OPENED, {"rows": 24, "columns": 80}, PERSON, span),
        *(NewEvent(Kind.TERMINAL_OUTPUT, {"text": text}, PERSON, span) for text in texts),
        NewEvent(Kind.COMMAND_STARTED, {"command": "true"}, PERSON, "cmd_1"),
        NewEvent(Kind.TERMINAL_OUTPUT, {"full_screen": True}, PERSON, span),
        NewEvent(Kind.TERMINAL_CLOSED, {"exit_code": 0}, PERSON, span),
    ]
    events_append(sandbox_id=sandbox_id, events=events)
    lines = [json.loads(line) for line in _exported(page, account, sandbox_id, "cast").splitlines()]
    shown = "".join(line[2] for line in lines[1:] if line[1] == "o")
    assert [line[2] for line in lines[1:] if line[1] == "m"] == ["Terminal", "true"]
    assert f"ls\r\na.py {REDACTED}\r\n" in shown
    parts = ("a terminal opens", "a.py", "a full-screen program", "the terminal closes")
    assert [shown.count(part) for part in parts] == [1] * len(parts)
    assert not any(gone in shown for gone in ("\b", "\x1b[2J", "\x1b[?2004h", "Ada"))


def test_json_lines_are_all_events(page: Page, account: Cast) -> None:
    sandbox_id = account.ended_sandbox()
    reads = [NewEvent(Kind.FILE_READ, {"path": "/a", "size": n}) for n in range(450)]
    events_append(sandbox_id=sandbox_id, events=reads)
    text = _exported(page, account, sandbox_id, "jsonl")
    assert [json.loads(line)["seq"] for line in text.splitlines()] == list(range(1, 451))


def test_a_run_is_saved_from_its_page_with_progress(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient, tmp_path: Path
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.exec("echo hello && ls /nowhere")
    open_timeline(page, account.viewer, sandbox.id)
    part = page.locator("#exports")
    for label, suffix in (("HTML page", "html"), ("Asciicast", "cast"), ("JSON Lines", "jsonl")):
        with page.expect_download() as found:
            part.get_by_role("link", name=label).click()
        file = tmp_path / f"run.{suffix}"
        found.value.save_as(file)
        assert found.value.suggested_filename == f"{sandbox.id}.{suffix}"
        expect(part).to_contain_text(f"Saved as {sandbox.id}.{suffix}")
        assert "hello" in file.read_text()
    shot(page, "exports")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert len(lines) == last_seq(sandbox_id=sandbox.id)
    exported = AuditEntry.objects.filter(target=sandbox.id, action="sandbox.exported")
    assert {entry.after["format"] for entry in exported} == {"html", "cast", "jsonl"}
    client = Client()
    client.force_login(other_account.owner)
    assert client.get(f"/sandboxes/{sandbox.id}/export/html/").status_code == 404
    client.force_login(account.viewer)
    assert client.get(f"/sandboxes/{sandbox.id}/export/pdf/").status_code == 404
