"""The host's calls about volumes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sandboxes.host.box import check_volume_id
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.types import HostError

_SMALLEST_MB, _LARGEST_MB = 64, 1 << 24


async def _make(host: Host, call: Call) -> None:
    size_mb = call.number("size_mb")
    if not _SMALLEST_MB <= size_mb <= _LARGEST_MB:
        raise HostError("invalid", f"A volume has {_SMALLEST_MB} to {_LARGEST_MB} MB.")
    if not host.has_room():
        raise HostError("host_full", "This host's disk is nearly full; delete some volumes.")
    await host.volumes.make(check_volume_id(call.text("volume_id")), size_mb=size_mb)
    await call.send({"ok": True})


async def _drop(host: Host, call: Call) -> None:
    await host.volumes.drop(check_volume_id(call.text("volume_id")))
    await call.send({"ok": True})


async def _ids(host: Host, call: Call) -> None:
    await call.send({"ok": True, "volume_ids": await host.volumes.ids()})


async def _used(host: Host, call: Call) -> None:
    asked = [check_volume_id(one) for one in call.texts("volume_ids")]
    await call.send({"ok": True, "used_bytes": await host.volumes.used_bytes(asked)})


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "volume_make": _make,
    "volume_drop": _drop,
    "volume_ids": _ids,
    "volume_used": _used,
}
