"""How much of the proxy one sandbox, and all of them together, may take."""

from __future__ import annotations

import resource
from dataclasses import asdict, dataclass, replace

#: A connection through the proxy holds two descriptors; these are kept back for everything else.
_RESERVED_FILES = 512
#: The part of all places that is anyone's to take; the rest is dealt in small shares.
_OPEN_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds. Read from the host's settings once, when the proxy starts."""

    head_seconds: float = 10.0
    connect_seconds: float = 10.0
    resolve_seconds: float = 10.0
    idle_seconds: float = 600.0
    keep_seconds: float = 60.0
    per_sandbox: int = 256
    crowded_share: int = 32
    total: int = 8000
    resolving_per_sandbox: int = 8
    events_per_second: float = 20.0
    events_burst: int = 200
    own_addresses: bool = False

    def fitted(self) -> Limits:
        """These with ``total`` cut down to the files this process may open."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
        room = (max(soft, hard) - _RESERVED_FILES) // 2
        return replace(self, total=max(1, min(self.total, room)))

    def admits(self, *, mine: int, everyone: int) -> bool:
        """Whether a sandbox with ``mine`` of ``everyone``'s connections may have one more.

        The last fifth of the places goes to sandboxes that hold few.
        """
        crowded = everyone >= self.total * _OPEN_SHARE
        return everyone < self.total and mine < (
            self.crowded_share if crowded else self.per_sandbox
        )

    def to_json(self) -> dict[str, float]:
        """The shape on the process's command line."""
        return asdict(self)
