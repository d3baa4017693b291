"""`python -m tests.bench.writer FOLDER REDIS_URL SECONDS RATE BYTES SANDBOX…`: append as hosts do.

Appends ``RATE`` events a second over the given sandboxes, or with ``RATE`` 0 as many as are stored,
each with ``BYTES`` of output; then waits until PostgreSQL has them and prints one line of JSON with
how many it appended and in how many seconds they were stored.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from timeline.events import Actor, Kind, NewEvent
from timeline.journal import Journal
from timeline.shipper import Shipper

_ACTOR = Actor("token", id="tok_bench", name="bench", prefix="ork_bench")
_BATCH = 256
_WINDOW_BYTES = 24 * 2**20


def event(number: int, text: str) -> NewEvent:
    """A line of output, like those of a build."""
    data = {"command_id": "cmd_bench", "stream": "stdout", "text": text, "offset": number}
    return NewEvent(Kind.COMMAND_OUTPUT, {**data, "bytes": len(text)}, _ACTOR, span="cmd_bench")


async def paced(journals: list[Journal], *, seconds: float, rate: int, text: str) -> int:
    """One event at a time, at even distances."""
    began = time.monotonic()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        journals[number % len(journals)].append(event(number, text))
    return int(seconds * rate)


async def flat_out(journals: list[Journal], shipper: Shipper, *, seconds: float, text: str) -> int:
    """As fast as they are stored: what is under way is bounded, as it is behind a real command."""
    began, number = time.monotonic(), 0
    turn = 0
    while time.monotonic() < began + seconds:
        journal = journals[turn % len(journals)]
        journal.append_many([event(number + index, text) for index in range(_BATCH)])
        number += _BATCH
        turn += 1
        await asyncio.sleep(0)
        while shipper.flying_bytes > _WINDOW_BYTES:  # noqa: ASYNC110 - it only counts
            await asyncio.sleep(0.005)
    return number


async def main(folder: str, redis_url: str, seconds: float, rate: int, size: int) -> None:
    shipper = Shipper(redis_url, poll_seconds=0.1)
    journals = [Journal(Path(folder) / sandbox_id, sandbox_id) for sandbox_id in sys.argv[6:]]
    for journal in journals:
        shipper.add(journal)
    running = asyncio.create_task(shipper.run())
    text = ("x" * (size - 1)) + "\n"
    began = time.monotonic()
    if rate:
        count = await paced(journals, seconds=seconds, rate=rate, text=text)
    else:
        count = await flat_out(journals, shipper, seconds=seconds, text=text)
    for journal in journals:
        if not await shipper.settled(journal.sandbox_id, 120):
            raise SystemExit(f"{journal.sandbox_id} was not stored in time")
    print(json.dumps({"events": count, "seconds": time.monotonic() - began}), flush=True)
    running.cancel()


if __name__ == "__main__":
    _, _folder, _redis, _seconds, _rate, _size, *_ids = sys.argv
    asyncio.run(main(_folder, _redis, float(_seconds), int(_rate), int(_size)))
