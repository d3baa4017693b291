"""A small host process for one plain box, made to be killed: ``dying_host.py BOX SOCKET COMMAND``.

The first one starts the command; each later one finds it again. It ends when all is recorded.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sandboxes.host.commands import Commands
from tests.sandboxes.host.plain import PlainBox
from timeline.events import Actor
from timeline.journal import Journal


async def main(state: Path, socket: Path, command: str) -> None:
    first = not (state / "commands").exists()
    box = PlainBox(state, socket, state, Journal(state, "sbx_01ARZ3NDEKTSV4RRFFQ69G5FAV"))
    commands = Commands(box)
    await commands.recover()
    if first:
        await commands.start(box.request(command, seconds=60), actor=Actor("token", name="ci"))
    assert await commands.settled(60)
    await commands.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
