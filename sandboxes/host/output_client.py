"""The part of the host's client that reads the whole output of commands."""

from __future__ import annotations

from dataclasses import dataclass

from sandboxes.host.client import HostClient


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Masked bytes, the offset to go on from, and how long the output is by now."""

    data: bytes
    next: int
    size: int


class OutputClient(HostClient):
    """Raises ``HostError``: no_such_command, and not_found once the sandbox has ended."""

    async def output_read(self, sandbox_id: str, command_id: str, *, offset: int) -> OutputPiece:
        """What comes behind ``offset``; no bytes at the end of what there is."""
        fields = {"sandbox_id": sandbox_id, "command_id": command_id, "offset": offset}
        frame = await self._call("output_read", fields)
        return OutputPiece(frame.payload, frame.header["next"], frame.header["size"])
