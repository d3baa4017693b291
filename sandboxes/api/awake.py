"""What stands in front of everything that is done inside a sandbox."""

from __future__ import annotations

from sandboxes.api.access import Call
from sandboxes.pausing import sandbox_awake
from sandboxes.selectors import Target


async def awake(call: Call, sandbox_id: str) -> Target:
    """The sandbox of the address, running; a paused one that may wake by itself is woken first.

    Raises ``SandboxError``, and what a resume raises.
    """
    return await sandbox_awake(
        principal=call.principal, target=call.target, sandbox_id=sandbox_id, origin=call.origin
    )
