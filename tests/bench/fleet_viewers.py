"""`python -m tests.bench.fleet_viewers URL COOKIE COUNT`: watch a wall or a list with many sockets.

Prints ``ready`` when each has all of it, and reads on until it is killed.
"""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.client import connect


async def watch(url: str, cookie: str, there: asyncio.Event) -> None:
    origin: str = url.split("/ws/", maxsplit=1)[0].replace("ws", "http", 1)
    async with connect(
        url,
        additional_headers={"Cookie": cookie},
        origin=origin,  # type: ignore[arg-type]
        max_size=None,
    ) as socket:
        async for text in socket:
            if str(text).lstrip().startswith(('{"t":"all"', "<div")):
                there.set()


async def main(url: str, cookie: str, count: int) -> None:
    edges = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for edge in edges:
            group.create_task(watch(url, cookie, edge))
        async with asyncio.timeout(60):
            await asyncio.gather(*(edge.wait() for edge in edges))
        print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
