"""What a supervisor that was killed left running, found by its records and ended in order."""

from __future__ import annotations

import signal
from pathlib import Path

from console.launch.layout import Layout
from console.launch.processes import Identity, Records, end, end_group, is_alive

SUPERVISOR = "supervisor"
# The reverse of the order of starts; a name that is not here (a second worker) goes first.
_ORDER = ("asgi", "host", "beat", "worker", "valkey", "postgres")
_SIGNALS = {"postgres": signal.SIGINT}  # TERM lets the host's sandboxes live on for the next host
_SECONDS = 60


def find(layout: Layout) -> dict[str, Identity]:
    """Recorded parts that still run, in the order in which to stop them; forgets the others."""
    records = Records(layout.pids)
    living: dict[str, Identity] = {}
    for name in sorted(_recorded(layout.pids), key=_rank):
        identity = records.load(name)
        if identity is not None and is_alive(identity):
            living[name] = identity
        elif name != SUPERVISOR:
            if identity is not None:
                end_group(identity, instance=layout.instance)
            records.forget(name)
    return living


def stop(layout: Layout) -> list[str]:
    """Ends the supervisor, if there is one, and whatever else still runs. Returns the names."""
    records = Records(layout.pids)
    stopped: list[str] = []
    supervisor = records.living(SUPERVISOR)
    if supervisor is not None:
        end(supervisor, stop_signal=signal.SIGTERM, seconds=2 * _SECONDS)
        stopped.append(SUPERVISOR)
    records.forget(SUPERVISOR)
    for name, identity in find(layout).items():
        end(identity, stop_signal=_SIGNALS.get(name, signal.SIGTERM), seconds=_SECONDS)
        end_group(identity, instance=layout.instance)
        records.forget(name)
        stopped.append(name)
    return stopped


def _recorded(directory: Path) -> list[str]:
    return [path.stem for path in directory.glob("*.json") if not path.name.startswith(".")]


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else -1
