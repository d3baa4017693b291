"""A command's stdin, as the agent takes it: in order, nothing lost and nothing twice."""

from __future__ import annotations

from pathlib import Path

from sandboxes.host.agent.frames import CHUNK, Answer, Ask, Fields, lost, text
from sandboxes.host.agent.link import Link
from sandboxes.host.agent.ties import Ties
from sandboxes.host.types import HostError


class Feeder:
    """One at a time: a second one takes over from the first.

    When the agent hangs up for a pause it is asked afterwards how far the stdin had got.
    """

    def __init__(self, path: Path, command_id: str, ties: Ties) -> None:
        self._path = path
        self._command_id = command_id
        self._ties = ties
        self._partings = 0
        self._link: Link | None = None
        self._taken: int | None = None  # bytes in all; an agent of an earlier version does not say

    @classmethod
    async def open(cls, path: Path, command_id: str, ties: Ties | None = None) -> Feeder:
        """Raises ``HostError`` invalid when the command was started without stdin."""
        feeder = cls(path, command_id, ties or Ties())
        await feeder._connected()
        return feeder

    async def _connected(self) -> Link:
        """Raises ``HostError``; after a parting it may be asked again."""
        if self._partings != self._ties.partings:
            self.close()  # nothing is under way: what was handed over has been answered
        if self._link is not None:
            return self._link
        await self._ties.together()
        self._partings = self._ties.partings
        link = await Link.open(self._path)
        try:
            await link.send(Ask.INPUT, text(self._command_id))
            fields = Fields(await link.expect(Answer.OK, subject=self._command_id))
            fields.u32()
            self._taken = _count(fields)
        except BaseException:
            link.close()
            raise
        self._link = link
        return link

    async def write(self, data: bytes) -> bool:
        """Returns when the agent has taken it, which waits while the command does not read.

        True when what was typed is hidden: the terminal takes lines and does not show them. What
        was taken just as the agent hung up counts as hidden, for nobody knows.
        """
        hidden = False
        for start in range(0, len(data), CHUNK):
            hidden = await self._put(data[start : start + CHUNK]) or hidden
        return hidden

    async def _put(self, chunk: bytes) -> bool:
        before, handed_over = self._taken, False
        while True:
            try:
                link = await self._connected()
                if handed_over and self._taken != before:
                    return True
                before, handed_over = self._taken, True
                return await self._hand_over(link, chunk)
            except HostError as error:
                if not self._hung_up(error) or (handed_over and before is None):
                    raise
                self.close()

    async def _hand_over(self, link: Link, chunk: bytes) -> bool:
        await link.send(Ask.DATA, chunk)
        kind, payload = await link.receive()
        if kind is not Answer.OK:
            raise lost("an answer to another question")
        fields = Fields(payload)
        fields.u32()
        if self._taken is not None:
            self._taken += len(chunk)
        return bool(fields.u8())

    def _hung_up(self, error: HostError) -> bool:
        """Whether the agent did so for a pause."""
        return error.code == "agent_lost" and self._partings != self._ties.partings

    async def end(self) -> None:
        """Closes the command's stdin."""
        link = await self._connected()
        await link.send(Ask.END)
        await link.receive()

    def close(self) -> None:
        """Lets go of stdin without closing it."""
        if self._link is not None:
            self._link.close()
            self._link = None


def _count(fields: Fields) -> int | None:
    """Of all bytes that the stdin was ever given, behind whether it hides them now."""
    if not fields.more:
        return None
    fields.u8()
    return fields.u64()
