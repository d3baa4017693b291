"""A kernel's process as the host has it: a command of the agent, fed by stdin, heard by stdout.

It outlives the host. ``taken`` counts what came of both its streams, as the agent does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import SPAWN_STDIN, Answer, Ask, Ended, Fields, Output, lost, text
from sandboxes.host.agent.link import Link
from sandboxes.host.code.messages import LENGTH
from sandboxes.host.requests import spawn_frame
from sandboxes.host.types import Box, ExecRequest

_PROGRAM: Final = "exec python3 /usr/local/lib/orkestr/kernel.py"
#: Characters of code in one message, which then fits one frame of the agent however it is escaped.
PIECE: Final = 4096
_COMPLAINT: Final = 2048


class KernelProcess:
    """Every method raises ``HostError`` when the agent or the process is gone."""

    def __init__(self, box: Box, name: str, link: Link, *, taken: int = 0) -> None:
        self.name = name
        self.taken = taken
        self.complaint = b""
        self._box = box
        self._link = link
        self._feeder: questions.Feeder | None = None

    @classmethod
    async def start(cls, box: Box, name: str, *, cwd: str) -> KernelProcess:
        request = ExecRequest(name, _PROGRAM, cwd=cwd, timeout_seconds=0, background=True)
        return await cls._open(box, name, Ask.SPAWN, _spawn(request, box), subject=cwd)

    @classmethod
    async def attach(cls, box: Box, name: str, *, taken: int) -> KernelProcess:
        """Go on with one that an earlier host started, after the first ``taken`` bytes."""
        payload = text(name) + struct.pack("<Q", taken)
        found = await cls._open(box, name, Ask.ATTACH, payload, subject=name)
        found.taken = taken
        return found

    @classmethod
    async def _open(
        cls, box: Box, name: str, ask: Ask, payload: bytes, *, subject: str
    ) -> KernelProcess:
        link = await Link.open(box.agent_socket)
        try:
            await link.send(ask, payload)
            Fields(await link.expect(Answer.STARTED, subject=subject)).u32()
        except BaseException:
            link.close()
            raise
        return cls(box, name, link)

    async def hear(self) -> bytes | Ended:
        """The next bytes of its stdout, or its end. Its stderr is kept for ``complaint``."""
        while True:
            kind, payload = await self._link.receive()
            if kind is Answer.EXITED:
                return Ended.parse(payload)
            if kind is not Answer.OUTPUT:
                raise lost("an answer to another question")
            output = Output.parse(payload, expected=self.taken)
            self.taken += len(output.data)
            if output.stream == "stdout":
                return output.data
            self.complaint = (self.complaint + output.data)[-_COMPLAINT:]

    def acknowledge(self) -> None:
        """What was taken is safe; the agent may forget it."""
        self._link.acknowledge(self.taken)

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Returns when the agent has it, which waits while the kernel does not read."""
        if self._feeder is None:
            self._feeder = await questions.Feeder.open(self._box.agent_socket, self.name)
        body = orjson.dumps(message)
        await self._feeder.write(LENGTH.pack(len(body)) + body)

    async def run(self, cell: str, code: str) -> None:
        """Hand it a cell, in pieces of which each is a whole message."""
        starts = range(0, max(1, len(code)), PIECE)
        for number, start in enumerate(starts):
            last = start + PIECE >= len(code)
            piece = code[start : start + PIECE]
            await self.tell({"cell": cell, "piece": number, "last": last, "code": piece})

    async def kill(self) -> None:
        """TERM, and KILL two seconds later."""
        await questions.kill(self._box.agent_socket, self.name)

    def forget(self) -> None:
        """After its end: the agent needs to keep nothing of it."""
        self._link.tell(Ask.FORGET, text(self.name))

    def close(self) -> None:
        """Let go of it; it lives on."""
        self._link.close()
        if self._feeder is not None:
            self._feeder.close()


def _spawn(request: ExecRequest, box: Box) -> bytes:
    return spawn_frame(request, box.env, flags=SPAWN_STDIN)
