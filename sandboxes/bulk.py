"""The same done to many sandboxes at once, with a word on each that it could not be done to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from accounts.database import in_database
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from sandboxes.errors import InvalidRequest, SandboxError, SandboxNotFound
from sandboxes.host.types import HostError
from sandboxes.models import ENDED, Sandbox, Status
from sandboxes.pausing import sandbox_pause
from sandboxes.selectors import sandboxes_named
from sandboxes.services import sandbox_terminate

MOST: Final = 200
PAUSE: Final = "pause"
TERMINATE: Final = "terminate"
_AT_ONCE: Final = 8
_NOWHERE = Origin()

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """One that it was not done to; ``sandbox`` is None for an id that is not the account's."""

    sandbox_id: str
    why: str
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What becomes of each that was chosen, in their order."""

    act: str
    done: list[Sandbox]
    refused: list[Refused]

    @property
    def all(self) -> int:
        """How many were chosen."""
        return len(self.done) + len(self.refused)


def bulk_outlook(*, principal: Principal, ids: Sequence[str], act: str) -> Report:
    """What ``bulk_do`` would do as things stand. Raises ``InvalidRequest`` and ``Forbidden``."""
    require(principal, Scope.SANDBOXES_WRITE)
    if act not in (PAUSE, TERMINATE):
        raise InvalidRequest("Choose to pause or to terminate.")
    chosen = list(dict.fromkeys(ids))
    if not 0 < len(chosen) <= MOST:
        raise InvalidRequest(f"Choose between 1 and {MOST} sandboxes.")
    found = {one.id: one for one in sandboxes_named(principal=principal, ids=chosen)}
    report = Report(act, [], [])
    for sandbox_id in chosen:
        sandbox = found.get(sandbox_id)
        why = _why_not(sandbox, act) if sandbox else str(SandboxNotFound(sandbox_id))
        if sandbox is None or why:
            report.refused.append(Refused(sandbox_id, why, sandbox))
        else:
            report.done.append(sandbox)
    return report


def _why_not(sandbox: Sandbox, act: str) -> str:
    if sandbox.status in ENDED:
        return "It has ended already."
    if act == PAUSE and sandbox.status == Status.PAUSED:
        return "It is paused already."
    if act == PAUSE and sandbox.status != Status.RUNNING:
        return f"It is {sandbox.get_status_display().lower()}; pause it when it runs."
    return ""


async def bulk_do(
    *, principal: Principal, ids: Sequence[str], act: str, origin: Origin = _NOWHERE
) -> Report:
    """Pause or terminate them, some at a time. Raises as ``bulk_outlook`` does, before any."""
    outlook = await in_database(bulk_outlook, principal=principal, ids=ids, act=act)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def turn(sandbox: Sandbox) -> str:
        async with turns:
            return await _do(principal, sandbox, act, origin)

    whys = await asyncio.gather(*(turn(sandbox) for sandbox in outlook.done))
    report = Report(act, [], list(outlook.refused))
    for sandbox, why in zip(outlook.done, whys, strict=True):
        if why:
            report.refused.append(Refused(sandbox.id, why, sandbox))
        else:
            report.done.append(sandbox)
    return report


async def _do(principal: Principal, sandbox: Sandbox, act: str, origin: Origin) -> str:
    """Why it could not be done; empty when it was."""
    does = sandbox_pause if act == PAUSE else sandbox_terminate
    try:
        await does(principal=principal, sandbox_id=sandbox.id, origin=origin)
    except SandboxError as error:
        return str(error)
    except HostError as error:
        return error.message
    except Exception:
        log.exception("%s of %s failed", act, sandbox.id)
        return "An error on the server; its log has it. Try this one again."
    return ""
