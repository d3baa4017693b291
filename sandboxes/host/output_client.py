"""The part of the host's client that reads the whole output of commands."""

from __future__ import annotations

from sandboxes.host.client import HostClient
from sandboxes.host.outputs import Piece


class OutputClient(HostClient):
    """Raises ``HostError``: no_such_command, and not_found once the sandbox has ended."""

    async def output_read(self, sandbox_id: str, command_id: str, *, offset: int) -> Piece:
        """What comes behind ``offset``; no bytes at the end of what there is."""
        fields = {"sandbox_id": sandbox_id, "command_id": command_id, "offset": offset}
        frame = await self._call("output_read", fields)
        return Piece(frame.payload, frame.header["next"], frame.header["size"])
