"""The host's call about the whole output of commands."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.outputs import read_masked
from sandboxes.host.types import HostError

_COMMAND_ID: Final = re.compile(r"[A-Za-z0-9_]{1,64}")


async def _read(host: Host, call: Call) -> None:
    """Also of a paused sandbox: nothing in it is asked."""
    command_id, offset = call.text("command_id"), call.number("offset")
    if not _COMMAND_ID.fullmatch(command_id):
        raise HostError("no_such_command", "Nothing is kept of such a command.")
    if not 0 <= offset < 1 << 62:
        raise HostError("invalid", "The offset must be 0 or more.")
    found = read_masked(host.found(call.sandbox_id).box, command_id, offset=offset)
    await call.send({"ok": True, "next": found.next, "size": found.size}, found.data)


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {"output_read": _read}
