"""The agent's short questions: which commands it has, kill one, forget one, resize one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sandboxes.host.agent import callers
from sandboxes.host.agent.frames import (
    PROTOCOL_VERSION,
    Answer,
    Ask,
    Fields,
    Listed,
    lost,
    text,
)
from sandboxes.host.agent.link import Link, linked
from sandboxes.host.types import HostError


async def ping(path: Path) -> None:
    """Raises ``HostError`` agent_lost unless an agent of our protocol answers."""
    async with linked(path) as link:
        await link.send(Ask.PING)
        version = Fields(await link.expect(Answer.OK, subject="ping")).u32()
        if version != PROTOCOL_VERSION:
            raise lost("it speaks another version")


async def listed(path: Path) -> list[Listed]:
    """Every command that runs, or has ended without the host having forgotten it."""
    found: list[Listed] = []
    async with linked(path) as link:
        await link.send(Ask.LIST)
        while True:
            kind, payload = await link.answer(subject="the list of commands")
            if kind is Answer.END:
                return found
            if kind is not Answer.ENTRY or len(found) >= 1024:
                raise lost("an answer to another question")
            found.append(Listed.parse(payload))


async def kill(path: Path, command_id: str) -> None:
    """TERM to the command's process group, KILL two seconds later. An ended one is left alone."""
    async with linked(path) as link:
        await link.send(Ask.KILL, text(command_id))
        await link.expect(Answer.OK, subject=command_id)


async def forget(path: Path, command_id: str) -> None:
    """Lets go of a command that has ended. Raises ``HostError`` not_found for an unknown one."""
    async with linked(path) as link:
        await link.send(Ask.FORGET, text(command_id))
        await link.expect(Answer.OK, subject=command_id)


async def resize(path: Path, command_id: str, *, rows: int, columns: int) -> None:
    """Sets the size of a command's terminal."""
    async with linked(path) as link:
        await link.send(Ask.RESIZE, text(command_id) + struct.pack("<HH", rows, columns))
        await link.expect(Answer.OK, subject=command_id)


async def hold_clock(path: Path, *, hold: bool) -> None:
    """Stops the clock that timeouts go by, or lets it go on. Doing so twice changes nothing."""
    async with linked(path) as link:
        await link.send(Ask.CLOCK, bytes([hold]))
        await link.expect(Answer.OK, subject="clock")


async def forward(path: Path, *, port: int, name: str) -> None:
    """Have a port of the sandbox's loopback lead to the socket ``name`` in the agent's folder."""
    async with linked(path) as link:
        await link.send(Ask.FORWARD, struct.pack("<H", port) + text(name))
        await link.expect(Answer.OK, subject=f"port {port}")


async def peek(path: Path, name: str, *, limit: int) -> bytes:
    """What a file of the sandbox's has, at most so much of it, which no event tells of."""
    found = bytearray()
    async with linked(path) as link:
        await link.send(Ask.READ, struct.pack("<QQ", 0, 0) + text(name))
        await link.expect(Answer.META, subject=name)
        while len(found) < limit:
            kind, payload = await link.answer(subject=name)
            if kind is not Answer.DATA:
                break
            found += payload
    return bytes(found[:limit])


async def quiesce(path: Path, *, bare: bool = False) -> None:
    """Every connection to the agent is closed on return, and none is taken until a new listener is
    handed to it (``sandboxes.host.door``). Raises ``HostError``, and then nothing is closed.

    For whoever has shut the agent's gate. ``bare`` lets processes with the agent's ids look into it
    until then: only while none of them runs.
    """
    link = await Link.connect(path)
    callers.part(path)
    try:
        await link.send(Ask.QUIESCE, b"\1" if bare else b"")
        await link.expect(Answer.OK, subject="its connections")
        with suppress(HostError):
            await link.answer(subject="the end")  # hangs up, last of all
    except BaseException:
        callers.rejoin(path)
        raise
    finally:
        link.close()


async def release(path: Path, *, sparing: Sequence[str] = ()) -> None:
    """Have it forget all commands, which run on with their output unread: in a copy of a sandbox
    they are nobody's. Those it is to go on with are named, by ids.

    Raises ``HostError``: invalid from an agent of an earlier version, which spares none.
    """
    names = b"".join(map(text, sparing))
    async with linked(path) as link:
        await link.send(Ask.RELEASE, struct.pack("<I", len(sparing)) + names if sparing else b"")
        await link.expect(Answer.OK, subject="its commands")
