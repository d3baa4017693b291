"""The host's calls about files that travel in one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sandboxes.host import wire
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.types import Directory


async def _write_file(host: Host, call: Call) -> None:
    files = host.live(call.sandbox_id).files
    path, mode = call.text("path"), call.number("mode")
    replacing = call.text("replacing") if "replacing" in call.header else None
    size = await files.write(path, call.payload, mode=mode, replacing=replacing, actor=call.actor)
    await call.send({"ok": True, "size": size})


async def _read_path(host: Host, call: Call) -> None:
    files = host.live(call.sandbox_id).files
    found = await files.read(call.text("path"), actor=call.actor)
    if isinstance(found, Directory):
        rows = [wire.entry_row(entry) for entry in found.entries]
        await call.send({"ok": True, "entries": rows, "truncated": found.truncated})
    else:
        await call.send(wire.file_header(found), found.content)


async def _delete_file(host: Host, call: Call) -> None:
    files = host.live(call.sandbox_id).files
    await files.delete(call.text("path"), actor=call.actor)
    await call.send({"ok": True})


async def _make_dir(host: Host, call: Call) -> None:
    files = host.live(call.sandbox_id).files
    path, parents = call.text("path"), call.flag("parents")
    await files.make_dir(path, parents=parents, actor=call.actor)
    await call.send({"ok": True})


async def _move(host: Host, call: Call) -> None:
    files = host.live(call.sandbox_id).files
    source, destination = call.text("source"), call.text("destination")
    await files.move(source, destination, actor=call.actor)
    await call.send({"ok": True})


async def _stat(host: Host, call: Call) -> None:
    files = host.live(call.sandbox_id).files
    await call.send(wire.stat_header(await files.stat(call.text("path"))))


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "write_file": _write_file,
    "read_path": _read_path,
    "delete_file": _delete_file,
    "make_dir": _make_dir,
    "move": _move,
    "stat": _stat,
}
