"""A file on its way from or to the agent, never more of it in memory than one piece."""

from __future__ import annotations

import asyncio

from sandboxes.host.agent.frames import FILE_CHUNK, Answer, Ask, Meta, lost
from sandboxes.host.agent.link import ANSWER_SECONDS, Link
from sandboxes.host.agent.refusals import refusal


class Download:
    """A file that was opened; ``meta`` is of that moment. ``given`` counts what was asked for."""

    def __init__(self, link: Link, meta: Meta, path: str) -> None:
        self._link = link
        self._path = path
        self.meta = meta
        self.given: int | None = None

    async def next(self, limit: int) -> bytes:
        """The next piece, at most ``limit`` bytes of it; empty at the end. Raises ``HostError``."""
        self.given = self.given or 0
        kind, payload = await self._link.answer(subject=self._path)
        if kind is Answer.END:
            return b""
        if kind is not Answer.DATA:
            raise lost("an answer to another question")
        piece = payload[:limit]
        self.given += len(piece)
        return piece


class Upload:
    """A file that is being written beside its place. ``meta`` is set once it is in it.

    ``kept`` is what has gone of it, as long as that is no more than ``keep`` bytes.
    """

    def __init__(self, link: Link, path: str, *, keep: int) -> None:
        self._link = link
        self._path = path
        self._answer = asyncio.ensure_future(link.receive())
        self._keep = keep
        self.kept: bytearray | None = bytearray()
        self.meta: Meta | None = None

    async def put(self, data: bytes) -> None:
        """Returns when the agent is taking it. Raises ``HostError``, as soon as there is reason."""
        if self.kept is not None:
            is_small = len(self.kept) + len(data) <= self._keep
            self.kept = self.kept + data if is_small else None
        for start in range(0, len(data), FILE_CHUNK):
            if self._answer.done():
                self._take_answer()
            await self._link.send(Ask.DATA, data[start : start + FILE_CHUNK])

    async def finish(self) -> Meta:
        """Puts the file in its place. Raises ``HostError``: there is no new file then."""
        await self._link.send(Ask.END)
        await asyncio.wait([self._answer], timeout=ANSWER_SECONDS)
        if not self._answer.done():
            raise lost("it does not answer")
        self.meta = self._take_answer()
        return self.meta

    def _take_answer(self) -> Meta:
        kind, payload = self._answer.result()
        if kind is Answer.ERROR:
            raise refusal(payload, subject=self._path)
        if kind is not Answer.META:
            raise lost("an answer to another question")
        return Meta.parse(payload)

    def close(self) -> None:
        """Lets go; what is not in its place goes away."""
        self._answer.cancel()
        self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())
