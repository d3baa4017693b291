"""A kernel's process as the host has it: a command of the agent, fed by stdin, heard by stdout.

It outlives the host. ``taken`` counts what came of both its streams, as the agent does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from sandboxes.host.agent import questions
from sandboxes.host.agent.feeder import Feeder
from sandboxes.host.agent.frames import SPAWN_STDIN, Answer, Ask, Ended, Fields, Output, lost, text
from sandboxes.host.agent.link import Link
from sandboxes.host.code.messages import LENGTH
from sandboxes.host.requests import spawn_frame
from sandboxes.host.types import Box, ExecRequest, HostError

_PROGRAM: Final = "exec python3 /usr/local/lib/orkestr/kernel.py"
#: Characters of code in one message, which then fits one frame of the agent however it is escaped.
PIECE: Final = 4096
_COMPLAINT: Final = 2048


class KernelProcess:
    """Every method raises ``HostError`` when the agent or the process is gone."""

    def __init__(self, box: Box, name: str, *, taken: int = 0) -> None:
        self.name = name
        self.taken = taken
        self.complaint = b""
        self._box = box
        self._link: Link | None = None
        self._partings = 0
        self._feeder = Feeder(box.agent_socket, name, box.ties)

    @classmethod
    async def start(cls, box: Box, name: str, *, cwd: str) -> KernelProcess:
        request = ExecRequest(name, _PROGRAM, cwd=cwd, timeout_seconds=0, background=True)
        frame = spawn_frame(request, box.env, flags=SPAWN_STDIN)
        process = cls(box, name)
        while True:
            try:
                await process._ask(Ask.SPAWN, frame, subject=cwd)
            except HostError as error:
                if error.code != "agent_lost" or not process.was_parted:
                    raise
                await box.ties.together()
                known = await questions.listed(box.agent_socket)
                if name in {one.command_id for one in known}:
                    return await cls.attach(box, name, taken=0)
            else:
                return process

    @classmethod
    async def attach(cls, box: Box, name: str, *, taken: int) -> KernelProcess:
        """Go on with one that an earlier host started, after the first ``taken`` bytes."""
        process = cls(box, name, taken=taken)
        await process._attach()
        return process

    async def _attach(self) -> None:
        payload = text(self.name) + struct.pack("<Q", self.taken)
        await self._ask(Ask.ATTACH, payload, subject=self.name)

    async def _ask(self, ask: Ask, payload: bytes, *, subject: str) -> None:
        self._partings = self._box.ties.partings
        link = await Link.open(self._box.agent_socket)
        try:
            await link.send(ask, payload)
            Fields(await link.expect(Answer.STARTED, subject=subject)).u32()
        except BaseException:
            link.close()
            raise
        self._link = link

    @property
    def was_parted(self) -> bool:
        """Whether the agent has hung up for a pause since."""
        return self._partings != self._box.ties.partings

    async def rejoin(self) -> bool:
        """Whether the agent, which hung up for a pause that is over, has it still.

        Only when all that was taken is safe: to come back is to acknowledge it.
        """
        while self.was_parted:
            await self._box.ties.together()
            self._hang_up()
            with suppress(HostError):
                await self._attach()
                return True
        return False

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()

    async def hear(self) -> bytes | Ended:
        """The next bytes of its stdout, or its end. Its stderr is kept for ``complaint``."""
        while True:
            if self._link is None:
                raise lost("it was never asked")
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
        if self._link is not None:
            self._link.acknowledge(self.taken)

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Returns when the agent has it, which waits while the kernel does not read."""
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
        if self._link is not None:
            self._link.tell(Ask.FORGET, text(self.name))

    def close(self) -> None:
        """Let go of it; it lives on."""
        self._hang_up()
        self._feeder.close()
