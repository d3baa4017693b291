"""The terminal in a browser: how soon a key shows, and what a flood of output costs."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from orkestr import Sandbox
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.bench.memory import MIB, watched
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.console.terminals import open_terminal, type_line
from tests.waiting import free_port

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
_BLOCK = 20
_LINE = 40
#: From a key to the frame in which the screen's text is another.
_METER = """() => {
  const rows = document.querySelector(".xterm-rows");
  let began = 0, before = "";
  window.echoes = [];
  addEventListener("keydown", () => {
    began = performance.now();
    before = rows.textContent;
  }, true);
  new MutationObserver(() => {
    if (!began || rows.textContent === before) return;
    const since = began;
    began = 0;
    requestAnimationFrame(() => setTimeout(() => window.echoes.push(performance.now() - since)));
  }).observe(rows, { subtree: true, childList: true, characterData: true });
}"""
#: From Ctrl-C to the frame in which a prompt stands on the last line again.
_STOPWATCH = """() => {
  const rows = document.querySelector(".xterm-rows");
  window.answered = 0;
  addEventListener("keydown", (event) => {
    if (event.key !== "c" || !event.ctrlKey) return;
    const began = performance.now();
    const look = () => {
      const lines = rows.textContent.trimEnd();
      if (lines.endsWith("#")) setTimeout(() => (window.answered = performance.now() - began));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, true);
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, _BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _terminado(browser: Browser) -> Iterator[Page]:
    port = free_port()
    argv = [sys.executable, "-m", "tests.bench.terminado_server", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function(
                "document.querySelector('.xterm-rows')?.textContent.includes('$')"
                " || document.querySelector('.xterm-rows')?.textContent.includes('#')"
            )
            yield page
        finally:
            server.terminate()


@contextmanager
def _console(bench: Bench, browser: Browser) -> Iterator[Page]:
    sandbox = Sandbox.create(template="debian-12", client=bench.client)
    context = browser.new_context(base_url=bench.stack.url)
    try:
        page = context.new_page()
        open_terminal(page, bench.cast.operator, sandbox.id)
        yield page
    finally:
        context.close()
        sandbox.terminate()


def _type(page: Page, count: int) -> None:
    """So many keys, each once the one before it shows."""
    page.bring_to_front()
    page.locator(".xterm-helper-textarea").focus()
    for number in range(count):
        seen = page.evaluate("window.echoes.length")
        page.keyboard.press("Control+u" if number % _LINE == _LINE - 1 else "x")
        page.wait_for_function("seen => window.echoes.length > seen", arg=seen, timeout=10_000)


def keystroke(bench: Bench) -> list[Row]:
    """Key to painted echo, in blocks that alternate between the two pages."""
    with (
        chromium() as browser,
        _terminado(browser) as other,
        _console(bench, browser) as ours,
    ):
        for page in (other, ours):
            page.evaluate(_METER)
            _type(page, _BLOCK)
            page.evaluate("window.echoes.length = 0")
        for _ in range(max(2, bench.many(300) // _BLOCK)):
            for page in (other, ours):
                _type(page, _BLOCK)
        taken, against = (
            [ms / 1e3 for ms in page.evaluate("window.echoes")] for page in (ours, other)
        )
    ratio = statistics.median(taken) / statistics.median(against)
    return [
        Row(
            "keystroke → echo painted in Chromium",
            milliseconds(taken),
            f"`terminado`, a shell of the machine: {milliseconds(against)} (ratio {ratio:.2f})",
            "≤ 1.2 × p50",
            met=ratio <= 1.2,
            note="the same xterm.js and browser; ours is recorded on its way",
        )
    ]


def flood(bench: Bench) -> list[Row]:
    """`yes` for a while, then Ctrl-C."""
    answers: list[float] = []
    with chromium() as browser, _console(bench, browser) as page:
        page.evaluate(_STOPWATCH)
        session = page.context.new_cdp_session(page)
        heap = _heap(session)
        with watched(bench, "host", "asgi", "worker") as growth:
            for _ in range(3):
                type_line(page, "yes")
                page.wait_for_timeout(bench.seconds(30) / 3 * 1000)
                page.evaluate("window.answered = 0")
                page.keyboard.press("Control+c")
                page.wait_for_function("() => window.answered > 0", timeout=10_000)
                answers.append(page.evaluate("window.answered"))
        grown = _heap(session) - heap
    parts = [growth.of(part) for part in growth.parts]
    return [
        Row(
            f"`yes` for {bench.seconds(30):.0f} s in the terminal, then Ctrl-C",
            f"prompt painted after {max(answers):.0f} ms at most; {growth}, "
            f"page's heap +{grown / MIB:.0f} MiB",
            "-",
            "< 300 ms, no process grows > 32 MB",
            met=max(answers) < 300 and max(*parts, grown) <= 32e6,
            note="three times a third of that, the slowest answer",
        )
    ]


def _heap(session: CDPSession) -> int:
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


MEASUREMENTS: Final[Mapping[str, Callable[[Bench], list[Row]]]] = {
    "keystroke": keystroke,
    "flood": flood,
}
