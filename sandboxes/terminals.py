"""Terminals as people use them: opened, closed, listed, and their recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Final

from django.conf import settings

from accounts.database import in_database
from accounts.ids import new_id
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record
from sandboxes.host.terminals.client import TerminalClient
from sandboxes.host.terminals.types import Size, TerminalInfo, TerminalRequest
from sandboxes.models import Sandbox
from sandboxes.pausing import sandbox_awake
from sandboxes.selectors import Target, sandbox_for

_NOWHERE: Final = Origin()


@lru_cache
def terminal_client() -> TerminalClient:
    """The host of this installation."""
    return TerminalClient(settings.ORKESTR_HOST_SOCKET)


async def terminal_open(
    *, principal: Principal, sandbox_id: str, size: Size, origin: Origin = _NOWHERE
) -> TerminalInfo:
    """A shell in a sandbox that runs, or may be woken for it.

    Raises ``Forbidden``, ``SandboxError`` and ``HostError``.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    await terminal_awake(principal=principal, sandbox_id=sandbox_id, origin=origin)
    request = TerminalRequest(new_id("trm"), size)
    client = terminal_client()
    row = await client.terminal_open(sandbox_id, request, actor=principal.actor)
    await _audit(principal, "terminal.opened", sandbox_id, row.id, origin)
    return row


async def terminal_close(
    *, principal: Principal, sandbox_id: str, terminal_id: str, origin: Origin = _NOWHERE
) -> None:
    """Hangs up, as closing a window does; what runs in it ends. Raises as ``terminal_open``."""
    require(principal, Scope.SANDBOXES_WRITE)
    await in_database(sandbox_for, principal=principal, sandbox_id=sandbox_id)
    client = terminal_client()
    await client.terminal_close(sandbox_id, terminal_id, actor=principal.actor)
    await _audit(principal, "terminal.closed", sandbox_id, terminal_id, origin)


def terminal_taken(
    *, principal: Principal, sandbox_id: str, terminal_id: str, origin: Origin = _NOWHERE
) -> None:
    """Somebody drives it from here on; the host has seen to it, and the timeline says so too."""
    audit_record(
        principal=principal,
        action="terminal.taken",
        target=sandbox_id,
        after={"terminal": terminal_id},
        origin=origin,
    )


async def terminal_awake(
    *, principal: Principal, sandbox_id: str, origin: Origin = _NOWHERE
) -> None:
    """Wakes a paused sandbox that what is done in it may wake. Raises as ``sandbox_awake``."""
    row = await in_database(sandbox_for, principal=principal, sandbox_id=sandbox_id)
    await sandbox_awake(
        principal=principal, target=_target(row), sandbox_id=sandbox_id, origin=origin
    )


async def terminals_of(sandbox: Sandbox) -> list[TerminalInfo]:
    """All that are open or recorded, in the order in which they were opened. ``HostError``."""
    return await terminal_client().terminal_list(sandbox.id)


async def recording_of(sandbox: Sandbox, terminal_id: str) -> AsyncIterator[bytes]:
    """A recording so far, in pieces. Raises ``HostError`` before the first."""
    client = terminal_client()
    first, size = await client.terminal_recording(sandbox.id, terminal_id, offset=0)

    async def pieces() -> AsyncIterator[bytes]:
        data, offset = first, 0
        while data:
            yield data[: size - offset]
            offset += len(data)
            if offset >= size:
                return
            data, _ = await client.terminal_recording(sandbox.id, terminal_id, offset=offset)

    return pieces()


def _target(row: Sandbox) -> Target:
    return Target(row.id, row.status, row.reason, row.auto_resume)


async def _audit(
    principal: Principal, action: str, sandbox_id: str, terminal_id: str, origin: Origin
) -> None:
    await in_database(
        audit_record,
        principal=principal,
        action=action,
        target=sandbox_id,
        after={"terminal": terminal_id},
        origin=origin,
    )
