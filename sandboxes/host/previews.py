"""What the timeline says of a sandbox's ports that were looked at from outside."""

from __future__ import annotations

import time
from typing import Final

from sandboxes.host.box import Box
from timeline.events import Actor, Kind, NewEvent

#: A port that is used all the time is told once in so long.
TOLD_SECONDS: Final = 600.0
#: So many ports of one sandbox are told in that time; a sandbox may listen on thousands.
TOLD_PORTS: Final = 64


class Told:
    """Which ports of one sandbox the timeline says were looked at, and when that was."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._ports: dict[int, float] = {}

    def note(self, port: int, *, address: str, actor: Actor) -> None:
        """Write it down unless that was done a while ago."""
        now = time.monotonic()
        self._ports = {one: at for one, at in self._ports.items() if now - at < TOLD_SECONDS}
        if port in self._ports or len(self._ports) >= TOLD_PORTS:
            return
        self._ports[port] = now
        data = {"port": port, "address": address}
        self._box.journal.append(NewEvent(Kind.NETWORK_PREVIEW, data, actor))
