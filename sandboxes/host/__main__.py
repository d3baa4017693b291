"""``python -m sandboxes.host [serve|stop-all]``: the sandbox host, and the end of all it runs.

``serve`` prints one line of JSON when it answers calls. TERM stops it and leaves the sandboxes
running, for a host started again to find; INT ends them first. ``stop-all`` ends them whether or
not a host runs.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import pwd
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sandboxes.host import logs, mounts, recovery
from sandboxes.host.agent.build import BuildError, build
from sandboxes.host.cgroups import Cgroups
from sandboxes.host.checks import troubles
from sandboxes.host.client import HostClient
from sandboxes.host.criu import Criu
from sandboxes.host.daemon import Host
from sandboxes.host.gvisor import Runsc
from sandboxes.host.images.store import Store
from sandboxes.host.locks import try_lock
from sandboxes.host.places import Places
from sandboxes.host.runtime import Runc, Runtime
from sandboxes.host.server import Server
from sandboxes.host.slots import SlotMaker
from sandboxes.host.tools.catalog import RUNSC, folder_of, runsc_program
from sandboxes.host.tools.later import find, reason
from sandboxes.host.types import HostError
from timeline.events import SYSTEM
from timeline.shipper import Shipper

#: Of the shape asked for last; one takes about half a megabyte. Fifty at once are answered from it.
READY_SANDBOXES = 56

_PR_SET_CHILD_SUBREAPER = 36
_LEAVE_SECONDS = 60
_LOOK_SECONDS = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is; each comes from an option or from the environment."""

    action: str
    socket: Path
    directory: Path
    templates: Path
    redis: str
    agent: Path
    client_uid: int | None
    ready: int
    memory: bool


def main() -> int:
    logs.set_up(as_json=os.environ.get("ORKESTR_LOG_JSON", "1") != "0")
    settings = _settings()
    if settings.action == "stop-all":
        return asyncio.run(_stop_all(settings))
    lock = _prepare(settings)
    if lock is None:
        return 1
    return asyncio.run(_serve(settings))


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m sandboxes.host", description=__doc__)
    parser.add_argument("action", nargs="?", default="serve", choices=["serve", "stop-all"])
    for name, variable in (
        ("socket", "ORKESTR_HOST_SOCKET"),
        ("dir", "ORKESTR_HOST_DIR"),
        ("templates", "ORKESTR_TEMPLATES_DIR"),
        ("redis", "REDIS_URL"),
    ):
        value = os.environ.get(variable)
        parser.add_argument(f"--{name}", default=value, required=not value, help=f"or {variable}")
    user = os.environ.get("ORKESTR_SERVICE_USER", "")
    parser.add_argument("--client-user", default=user, help="who may call besides root")
    agent = os.environ.get("ORKESTR_AGENT", "")
    parser.add_argument("--agent", default=agent, help="its binary; built in DIR when not given")
    ready = int(os.environ.get("ORKESTR_READY_SANDBOXES", READY_SANDBOXES))
    parser.add_argument("--ready", type=int, default=ready, help="started ahead of time")
    options = parser.parse_args()
    return Settings(
        action=options.action,
        socket=Path(options.socket).absolute(),
        directory=Path(options.dir).resolve(),
        templates=Path(options.templates).resolve(),
        redis=options.redis,
        agent=Path(options.agent or Path(options.dir, "agent")).resolve(),
        client_uid=pwd.getpwnam(options.client_user).pw_uid if options.client_user else None,
        ready=options.ready,
        memory=os.environ.get("ORKESTR_MEMORY_SNAPSHOTS", "1") != "0",
    )


def _prepare(settings: Settings) -> int | None:
    """Check the machine, take the folder's lock, move to our own mounts. None: it was said why."""
    places = Places.of(settings.directory)
    found = troubles(places, settings.templates, Runc(settings.directory / "runc"), Cgroups())
    for sentence in found:
        log.error("%s", sentence)
    if found:
        return None
    settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(settings.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not try_lock(lock):
        log.error("Another sandbox host uses %s; stop it first.", settings.directory)
        return None
    try:
        agent = build(settings.agent)
    except BuildError as error:
        log.error("%s", error)  # noqa: TRY400
        return None
    mounts.own_mounts()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    places.prepare(agent)
    return lock


def _host(settings: Settings, *, ready: int) -> Host:
    places = Places.of(settings.directory)
    criu = Criu(folder_of(settings.templates), places.stage, wanted=settings.memory)
    criu.prepare()
    if settings.memory and (trouble := criu.trouble()):
        log.warning("Memory of sandboxes is not kept on disk: %s", trouble)
    runtimes = (Runc(settings.directory / "runc", criu), _gvisor(settings))
    maker = SlotMaker(places, *runtimes, cgroups=Cgroups())
    makers = max(2, os.cpu_count() or 1)
    store, shipper = Store(settings.templates), Shipper(settings.redis)
    return Host(maker, store, shipper, ready=ready, makers=makers)


def _gvisor(settings: Settings) -> Runtime:
    tools = folder_of(settings.templates)
    folder = find(RUNSC, tools)
    program = runsc_program(folder) if folder else None
    return Runsc(settings.directory / "runsc", program, reason=reason(RUNSC, tools))


async def _serve(settings: Settings) -> int:
    host = _host(settings, ready=settings.ready)
    server = Server(host, client_uid=settings.client_uid)
    loop, ends = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, server.stopped.set)
    loop.add_signal_handler(signal.SIGINT, ends.set)
    await recovery.recover(host)
    host.start()
    host.tasks.spawn(recovery.sweep_again(host))
    try:
        await server.listen(settings.socket)
    except (HostError, OSError) as error:
        log.error("The socket %s cannot be served: %s", settings.socket, error)  # noqa: TRY400
        await host.close()
        return 1
    gc.freeze()
    ready = {"ready": True, "socket": str(settings.socket), "sandboxes": len(host.ids())}
    os.write(1, json.dumps(ready).encode() + b"\n")
    await _either(ends, server.stopped)
    await server.close()
    settings.socket.unlink(missing_ok=True)
    if ends.is_set():
        await host.end_all()
    await host.close()
    return 0


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _stop_all(settings: Settings) -> int:
    """By the host that runs; without one, by finding its sandboxes as a new host would."""
    try:
        await HostClient(str(settings.socket)).shutdown(actor=SYSTEM)
    except HostError as error:
        if error.code != "host_unreachable":
            log.error("%s", error.message)  # noqa: TRY400
            return 1
    else:
        return 0 if _has_left(settings) else 1
    if _prepare(settings) is None:
        return 1
    host = _host(settings, ready=0)
    await recovery.recover(host)
    host.start()
    await host.end_all()
    await host.close()
    return 0


def _has_left(settings: Settings) -> bool:
    """Whether a host that was told to end is gone, with the slots it kept ready, in time."""
    deadline = time.monotonic() + _LEAVE_SECONDS
    with (settings.directory / "lock").open() as lock:
        while not try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                log.error("The sandbox host did not end within %d s.", _LEAVE_SECONDS)
                return False
            time.sleep(_LOOK_SECONDS)
    return True


if __name__ == "__main__":
    sys.exit(main())
