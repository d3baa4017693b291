"""Which of the machine's user and group ids belong to which slot."""

from __future__ import annotations

import threading

from sandboxes.host import mounts
from sandboxes.host.types import HostError

#: The machine's ids from here on belong to sandboxes, 65536 to each slot.
_FIRST_ID = 1 << 30
SLOTS = 1 << 14


class Ids:
    """Hands out slot numbers, the lowest free one first; each means a range of ids."""

    def __init__(self, *, offset: int) -> None:
        self._offset = offset
        self._used: set[int] = set()
        self._namespaces: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            index = next((n for n in range(SLOTS) if n not in self._used), None)
            if index is None:
                raise HostError("host_full", "This host has no ids left; end some sandboxes.")
            self._used.add(index)
            return index

    def claim(self, index: int) -> None:
        """Note a number that a running slot has from before."""
        with self._lock:
            self._used.add(index)

    def release(self, index: int) -> None:
        with self._lock:
            self._used.discard(index)

    def base(self, index: int) -> int:
        """Two hosts on one machine start at different places, so that they rarely share ids."""
        return _FIRST_ID + (self._offset + index) % SLOTS * mounts.IDS

    def namespace(self, index: int) -> int:
        """A user namespace's descriptor for this number, kept for the next slot that has it."""
        if index not in self._namespaces:
            self._namespaces[index] = mounts.user_namespace(self.base(index))
        return self._namespaces[index]
