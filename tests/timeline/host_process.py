"""A host that appends and ships, in a process of its own, for tests that kill it.

Arguments: journals' folder, Redis, sandbox ids joined by commas, how many events each. Started
again, it goes on behind what its own note says was appended. Ends when PostgreSQL has all of it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.timeline.helpers import output
from timeline.journal import Journal
from timeline.shipper import Shipper


async def main(folder: Path, redis_url: str, sandbox_ids: list[str], count: int) -> None:
    shipper = Shipper(redis_url, poll_seconds=0.2)
    shipping = asyncio.create_task(shipper.run())
    journals = [Journal(folder / name, name) for name in sandbox_ids]
    for journal in journals:
        shipper.add(journal)
    await asyncio.gather(*(append(journal, folder, count) for journal in journals))
    for journal in journals:
        assert await shipper.settled(journal.sandbox_id, 90)
    shipping.cancel()


async def append(journal: Journal, folder: Path, count: int) -> None:
    """The length of the note is how many appends have returned."""
    with (folder / f"{journal.sandbox_id}.note").open("ab", buffering=0) as note:
        for number in range(note.tell() + 1, count + 1):
            journal.append(output(number))
            note.write(b".")
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    path, url, names, events = sys.argv[1:]
    asyncio.run(main(Path(path), url, names.split(","), int(events)))
