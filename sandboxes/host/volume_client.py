"""The part of the host's client that is about volumes."""

from __future__ import annotations

from collections.abc import Sequence

from sandboxes.host.client import HostClient


class VolumeClient(HostClient):
    """Every method raises ``HostError``."""

    async def volume_make(self, volume_id: str, *, size_mb: int) -> None:
        """Make an empty disk; one that is there already stays as it is. Code: host_full."""
        await self._call("volume_make", {"volume_id": volume_id, "size_mb": size_mb})

    async def volume_drop(self, volume_id: str) -> None:
        """Remove a disk for good; one that is not there is fine. Code: volume_in_use."""
        await self._call("volume_drop", {"volume_id": volume_id})

    async def volume_used(self, volume_ids: Sequence[str]) -> dict[str, int]:
        """Bytes that each takes of this host's disk, without those that have none here."""
        answer = await self._call("volume_used", {"volume_ids": list(volume_ids)})
        used: dict[str, int] = answer.header["used_bytes"]
        return used

    async def volume_ids(self) -> list[str]:
        """Of every volume that has a disk on this host."""
        ids: list[str] = (await self._call("volume_ids")).header["volume_ids"]
        return ids
