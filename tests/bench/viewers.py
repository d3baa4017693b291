"""`python -m tests.bench.viewers URL COOKIE COUNT SECONDS`: watch one timeline with many sockets.

Prints ``ready`` when all of them are at the live edge, watches for that many seconds from then on,
and prints one line of JSON: for every event that reached a viewer, the seconds since it was
appended. A process of its own, so that its work is not the measured server's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

from websockets.asyncio.client import ClientConnection, connect

_ACKNOWLEDGE_EVERY = 32 * 1024
_AT = re.compile(r'data-at=\\"(\d+)\\"')


async def watch(socket: ClientConnection, edge: asyncio.Event, late: list[float]) -> None:
    """Read frames and acknowledge them, as the page does."""
    received = acknowledged = 0
    async for text in socket:
        now = time.time()
        assert isinstance(text, str)
        if text.startswith('{"t":"rows"'):
            if edge.is_set():
                late.extend(now - int(at) / 1e6 for at in _AT.findall(text))
            received += len(json.loads(text)["html"])
            if received - acknowledged >= _ACKNOWLEDGE_EVERY:
                acknowledged = received
                await socket.send(json.dumps({"t": "ack", "bytes": received}))
        elif '"edge"' in text:
            edge.set()


async def main(url: str, cookie: str, count: int, seconds: float) -> None:
    origin = url.split("/ws/", maxsplit=1)[0].replace("ws", "http", 1)
    sockets = [
        await connect(url, additional_headers={"Cookie": cookie}, origin=origin)  # type: ignore[arg-type]
        for _ in range(count)
    ]
    edges = [asyncio.Event() for _ in sockets]
    late: list[float] = []
    watching = [
        asyncio.create_task(watch(socket, edge, late))
        for socket, edge in zip(sockets, edges, strict=True)
    ]
    async with asyncio.timeout(30):
        await asyncio.gather(*(edge.wait() for edge in edges))
    print("ready", flush=True)
    await asyncio.sleep(seconds)
    for task in watching:
        task.cancel()
    print(json.dumps(late), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
