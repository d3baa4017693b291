"""The timeline of a long run: what its pages cost the server, a search in it, and the browser."""

from __future__ import annotations

import gzip
import statistics
import time
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from orkestr import Sandbox
from playwright.sync_api import Page, Response

from tests.bench.events import end, line, start
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds, quantile
from tests.bench.runs import NEEDLE, fill
from tests.bench.terminals import chromium
from tests.waiting import until
from timeline.indexing import ask_for_index, index_due, indexed_to

LONG, LONGER = 100_000, 1_000_000
VIEWERS, RATE = 200, 50
BUDGET_KB: Final = 120
#: What is asked for, of which run, and the seconds it may take at the median.
ASKS: Final = (
    ("page", "", 0.060),
    ("page of scroll", "rows/?limit=50&before=50000", 0.050),
    ("search in the output", f"rows/?q={NEEDLE}", 0.150),
    ("strip", "strip/", 0.100),
)
#: Milliseconds from the moment that a line says it was written to the frame that shows it.
_PAINTED = """() => {
  window.late = [];
  const seen = new WeakSet();
  new MutationObserver((changes) => {
    const rows = changes.flatMap(({ addedNodes }) => [...addedNodes]);
    requestAnimationFrame(() => setTimeout(() => {
      const now = performance.timeOrigin + performance.now();
      for (const row of rows) {
        if (row.dataset?.kind !== "command.output" || seen.has(row)) continue;
        seen.add(row);
        for (const [written] of row.textContent.matchAll(/\\d{19}/g))
          window.late.push(now - Number(written) / 1e6);
      }
    }));
  }).observe(document.querySelector(".tl-rows"), { childList: true, subtree: true });
}"""
_SCROLL = """async (seconds) => {
  const box = document.querySelector(".tl-scroll");
  const frames = [];
  const until = performance.now() + seconds * 1000;
  let last = performance.now();
  let most = 0;
  let waited = 0;
  const rows = document.querySelector(".tl-rows");
  while (performance.now() < until && !document.getElementById("e1")) {
    box.scrollTop -= 1500;
    await new Promise(requestAnimationFrame);
    frames.push((performance.now() - last) / 1000);
    last = performance.now();
    most = Math.max(most, document.querySelectorAll("[data-seq]").length);
    if (rows.getBoundingClientRect().top > box.getBoundingClientRect().top + 40) waited += 1;
  }
  const ended = Boolean(document.getElementById("e1"));
  return { frames, heap: performance.memory.usedJSHeapSize, most, waited, ended };
}"""


def pages(bench: Bench) -> list[Row]:
    """A run of 100 000 events beside one of a million: page, scroll, search, strip, browser."""
    long, longer = bench.past_sandbox(), bench.past_sandbox()
    for sandbox_id, events in ((long, LONG), (longer, bench.many(LONGER))):
        fill(bench.stack.database_url, sandbox_id, events=events)
        ask_for_index(sandbox_id)
        _wait_for_index(sandbox_id, events)
    rows = [_asked(bench, (long, longer), *ask) for ask in ASKS]
    return rows + _browsed(bench, long)


def painted(bench: Bench) -> list[Row]:
    """From a line written in a sandbox to the frame that shows it; then with 200 others beside."""
    return [_painted(bench, others) for others in (0, VIEWERS)]


def _wait_for_index(sandbox_id: str, events: int) -> None:
    def is_done() -> bool:
        index_due(seconds=20)
        return indexed_to(sandbox_id) > events - 200

    until(is_done, seconds=900, what=f"{events:,} events are indexed")


def _asked(bench: Bench, runs: tuple[str, str], what: str, path: str, most: float) -> Row:
    ours: list[float] = []
    theirs: list[float] = []
    headers = {"Cookie": bench.session_cookie()}
    with httpx.Client(base_url=bench.stack.url, headers=headers, timeout=30) as client:
        for number in range(bench.many(60) + 3):
            for sandbox_id, times in zip(runs, (ours, theirs), strict=True):
                began = time.perf_counter()
                client.get(f"/sandboxes/{sandbox_id}/{path}").raise_for_status()
                if number >= 3:
                    times.append(time.perf_counter() - began)
    ratio = statistics.median(theirs) / statistics.median(ours)
    return Row(
        what=f"timeline of {LONG:,} events: {what}, answered",
        measured=milliseconds(ours),
        against=f"of {bench.many(LONGER):,}: {milliseconds(theirs)} (ratio {ratio:.2f})",
        target=f"p50 ≤ {most * 1e3:.0f} ms, ratio ≤ 1.2",
        met=statistics.median(ours) <= most and ratio <= 1.2,
    )


def _browsed(bench: Bench, sandbox_id: str) -> list[Row]:
    with chromium() as browser:
        page = _signed_in(bench, browser)
        seen: list[Response] = []

        def see(response: Response) -> None:
            seen.append(response)

        page.on("response", see)  # playwright marks what it calls, and cannot mark a bound builtin
        page.goto(f"/sandboxes/{sandbox_id}/")
        page.wait_for_selector('#timeline[data-live="live"]')
        paint = float(page.evaluate("performance.getEntriesByType('paint').at(-1).startTime"))
        page.wait_for_load_state("networkidle")
        own = sum(_weight(response) for response in seen if "/static/" in response.url)
        scroll = page.evaluate(_SCROLL, bench.seconds(200))
    return [_first_paint(paint), _scrolled(scroll), _weighed(own)]


def _first_paint(paint: float) -> Row:
    return Row(
        what=f"timeline of {LONG:,} events: first paint, nothing cached",
        measured=f"{paint:.0f} ms",
        against="-",
        target="≤ 600 ms",
        met=paint <= 600,
    )


def _scrolled(scroll: dict[str, Any]) -> Row:
    frames, heap = scroll["frames"], float(scroll["heap"]) / 2**20
    reached = "to the first event" if scroll["ended"] else "not to its end in time"
    reached += f" in {sum(frames):.0f} s ({scroll['waited']} frames saw its edge)"
    return Row(
        what=f"scrolling up through {LONG:,} events",
        measured=f"frames {milliseconds(frames)}, p95 {quantile(frames, 0.95) * 1e3:.0f} ms, "
        f"{reached}; {heap:.0f} MB heap; {scroll['most']} rows at most",
        against="-",
        target="p95 ≤ 50 ms, < 150 MB",
        met=quantile(frames, 0.95) <= 0.05 and heap < 150 and scroll["ended"],
    )


def _weighed(size: int) -> Row:
    return Row(
        what="what a sandbox's page loads besides its rows, gzip, without terminal",
        measured=f"{size / 1024:.0f} KB",
        against="-",
        target=f"≤ {BUDGET_KB} KB",
        met=size <= BUDGET_KB * 1024,
    )


def _weight(response: Response) -> int:
    body = response.body()
    packed = urlsplit(response.url).path.endswith(".woff2")
    return len(body) if packed else len(gzip.compress(body))


def _painted(bench: Bench, others: int) -> Row:
    sandbox = Sandbox.create(template="debian-12", client=bench.client)
    count = int(bench.seconds(20) * RATE)
    url = f"{bench.stack.url}/ws/sandboxes/{sandbox.id}/timeline/".replace("http", "ws", 1)
    crowd = []
    try:
        with chromium() as browser:
            page = _signed_in(bench, browser)
            page.goto(f"/sandboxes/{sandbox.id}/")
            page.wait_for_selector('#timeline[data-live="live"]')
            if others:
                crowd = [start("viewers", url, bench.session_cookie(), others, 120)]
                assert line(crowd[0]) == "ready"
            page.evaluate(_PAINTED)
            began = time.monotonic()
            each = f"i=0; while [ $i -lt {count} ]; do date +%s%N; sleep 0.017; i=$((i+1)); done"
            sandbox.exec(each, timeout_seconds=110)
            rate = count / (time.monotonic() - began)
            page.wait_for_selector('.card[data-state="ok"]')
            late = [one / 1000 for one in page.evaluate("window.late")]
    finally:
        end(*crowd)
        sandbox.terminate()
    p50, p99 = statistics.median(late), quantile(late, 0.99)
    return Row(
        what=f"line written in a sandbox → painted in Chromium, {RATE} a second, "
        f"{others} other viewers",
        measured=f"{milliseconds(late)}; {len(late):,} of {count:,} at {rate:.0f} a second",
        against="-",
        target="p99 ≤ 300 ms" if others else "p50 ≤ 80 ms, p99 ≤ 200 ms",
        met=(p99 <= 0.3 if others else p50 <= 0.08 and p99 <= 0.2) and len(late) == count,
        note="output is gathered for up to 50 ms before it is an event",
    )


def _signed_in(bench: Bench, browser: Any) -> Page:
    context = browser.new_context(base_url=bench.stack.url)
    name, _, value = bench.session_cookie().partition("=")
    context.add_cookies([{"name": name, "value": value, "url": bench.stack.url}])
    page: Page = context.new_page()
    return page


MEASUREMENTS = {"timelines": pages, "painted": painted}
