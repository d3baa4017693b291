"""The whole output of a command, for who looks at it: from its timeline, or from its host where
the timeline left some out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from django.conf import settings

from accounts.database import in_database
from sandboxes.host.output_client import OutputClient
from sandboxes.host.outputs import Piece
from sandboxes.host.types import HostError
from timeline.events import Event, Kind
from timeline.selectors import events_of_span, spans_ended, spans_started

PAGE: Final = 200


@lru_cache
def output_client() -> OutputClient:
    """The host of this installation."""
    return OutputClient(settings.ORKESTR_HOST_SOCKET)


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command's events lie: from its start to its end, or to now while it runs."""

    sandbox_id: str
    span: str
    first: int
    last: int | None
    dropped: int


def command_of(*, sandbox_id: str, span: str) -> Command | None:
    """None for a command that the sandbox never ran."""
    started = spans_started(sandbox_id=sandbox_id, spans=[span]).get(span)
    if started is None:
        return None
    ended = spans_ended(sandbox_id=sandbox_id, spans=[span]).get(span)
    dropped = int(ended.data.get("dropped") or 0) if ended else 0
    return Command(sandbox_id, span, started.seq, ended.seq if ended else None, dropped)


async def output_pieces(command: Command) -> AsyncIterator[bytes]:
    """All that there is of it, a piece at a time, without secrets. What is not kept any more is
    said at its place. Raises ``HostError`` before the first piece only."""
    if command.dropped:
        client = output_client()
        try:
            piece = await client.output_read(command.sandbox_id, command.span, offset=0)
        except HostError:
            pass
        else:
            async for data in _from_host(client, command, piece):
                yield data
            return
    async for data in _from_timeline(command):
        yield data


async def output_from(command: Command, *, offset: int) -> Piece:
    """The piece behind an offset. Raises ``HostError`` when the host has it no more."""
    return await output_client().output_read(command.sandbox_id, command.span, offset=offset)


async def _from_host(client: OutputClient, command: Command, piece: Piece) -> AsyncIterator[bytes]:
    while piece.data:
        yield piece.data
        piece = await client.output_read(command.sandbox_id, command.span, offset=piece.next)


async def _from_timeline(command: Command) -> AsyncIterator[bytes]:
    after = command.first
    while events := await in_database(_page, command, after):
        after = events[-1].seq
        for event in events:
            if dropped := int(event.data.get("dropped") or 0):
                yield f"\n[{dropped:,} bytes were not kept on the timeline]\n".encode()
            yield str(event.data.get("text", "")).encode("utf-8", "replace")


def _page(command: Command, after: int) -> list[Event]:
    return events_of_span(
        sandbox_id=command.sandbox_id,
        span=command.span,
        kind=Kind.COMMAND_OUTPUT,
        after=after,
        last=command.last,
        limit=PAGE,
    )
