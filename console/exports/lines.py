"""JSON Lines: every event as the API has it, one a line."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from console.exports.reading import events_until


async def json_lines(*, sandbox_id: str, last: int) -> AsyncIterator[bytes]:
    """Up to the event ``last``."""
    async for page in events_until(sandbox_id=sandbox_id, last=last):
        yield b"".join(orjson.dumps(event.to_json()) + b"\n" for event in page)
