"""The part of the host's client that is about cells and their contexts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import orjson

from sandboxes.host import wire
from sandboxes.host.calling import answer, with_actor
from sandboxes.host.client import HostClient
from sandboxes.host.code.types import CodeRequest, ContextInfo, Told, ToldKind
from sandboxes.host.types import HostError
from timeline.events import Actor

_KINDS: Final = ("accepted", "stream", "result", "error", "done")


class CodeClient(HostClient):
    """Every method raises ``HostError``: interpreter_unavailable, no_such_context and others."""

    async def code_stream(
        self, sandbox_id: str, request: CodeRequest, *, actor: Actor, is_buffered: bool = False
    ) -> AsyncGenerator[Told, None]:
        """Run a cell: ``accepted``, what it puts out as it comes, ``done``.

        Closing the iterator leaves the cell running. One whose caller wants it all at once
        (``is_buffered``) is told of a pause; others go on after it.
        """
        header: dict[str, Any] = {
            "op": "code_run" if is_buffered else "code_stream",
            "sandbox_id": sandbox_id,
            "cell_id": request.cell_id,
            "context_id": request.context_id,
            "timeout_seconds": request.timeout_seconds,
        }
        try:
            payload = request.code.encode()
        except UnicodeEncodeError as error:
            raise HostError("invalid", "The code holds characters that are not Unicode.") from error
        async with self._connection() as (reader, writer):
            writer.write(wire.pack(with_actor(header, actor), payload))
            await writer.drain()
            while True:
                told = _told(await answer(reader))
                yield told
                if told.kind == "done":
                    return

    async def code_contexts(self, sandbox_id: str) -> list[ContextInfo]:
        """In the order in which they were made."""
        frame = await self._call("code_list", {"sandbox_id": sandbox_id})
        return [ContextInfo(**row) for row in orjson.loads(frame.payload)]

    async def code_create(
        self, sandbox_id: str, context_id: str, *, cwd: str, actor: Actor
    ) -> ContextInfo:
        """A context whose kernel runs."""
        fields = {"sandbox_id": sandbox_id, "context_id": context_id, "cwd": cwd}
        frame = await self._call("code_create", fields, actor=actor)
        return ContextInfo(**orjson.loads(frame.payload))

    async def code_restart(self, sandbox_id: str, context_id: str, *, actor: Actor) -> ContextInfo:
        """The same context with nothing in it."""
        fields = {"sandbox_id": sandbox_id, "context_id": context_id}
        frame = await self._call("code_restart", fields, actor=actor)
        return ContextInfo(**orjson.loads(frame.payload))

    async def code_remove(self, sandbox_id: str, context_id: str, *, actor: Actor) -> None:
        """End its kernel for good."""
        fields = {"sandbox_id": sandbox_id, "context_id": context_id}
        await self._call("code_remove", fields, actor=actor)


def _told(frame: wire.Frame) -> Told:
    kind = frame.header.get("kind")
    if kind not in _KINDS:
        raise HostError("internal", "The sandbox host sent an event that makes no sense.")
    return Told(cast(ToldKind, kind), orjson.loads(frame.payload))
