"""What the proxy tells the host of every connection, and how often it may repeat itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.request import Target

Tell = Callable[[dict[str, Any]], None]

_numbers = itertools.count(1)
_REPEAT_SECONDS = 1.0
_TEXT_LIMIT = 300
#: What is summed up of connections that come too fast.
_COUNTED = ("left_out", "bytes_up", "bytes_down", "duration_ms")


@dataclass(slots=True, eq=False)
class Connection:
    """An allowed connection from the moment it is asked for. ``reason`` says how it ended."""

    sandbox_id: str
    target: Target
    tell: Tell
    client: Channel
    upstream: Channel | None = None
    address: str = ""
    reason: str = "ended"
    number: int = field(default_factory=lambda: next(_numbers))
    started: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def opened(self, upstream: Channel, address: str) -> None:
        """It stands. The host keeps this, so that a proxy that dies leaves a trace of it."""
        self.upstream, self.address = upstream, address
        self.tell(self.described())

    def described(self) -> dict[str, Any]:
        """The record of an open connection."""
        return {"op": "opened", **self._who()}

    def closed(self) -> dict[str, Any]:
        """The record of a connection that is over, however it went."""
        upstream = self.upstream
        return {
            "op": "closed",
            **self._who(),
            "reason": self.reason,
            "bytes_up": upstream.sent if upstream else 0,
            "bytes_down": upstream.received if upstream else 0,
            "duration_ms": int((asyncio.get_running_loop().time() - self.started) * 1000),
        }

    def cut(self, reason: str) -> None:
        """End it now, both ways."""
        self.reason = reason
        self.client.abort()
        if self.upstream is not None:
            self.upstream.abort()

    def idle_since(self) -> float:
        """When a byte last came in from either side, by the loop's clock."""
        upstream = self.upstream.touched if self.upstream else self.started
        return max(self.client.touched, upstream)

    def _who(self) -> dict[str, Any]:
        return {
            "sandbox_id": self.sandbox_id,
            "number": self.number,
            "scheme": self.target.scheme,
            "host": self.target.host,
            "port": self.target.port,
            "address": self.address,
        }


class _Pace:
    """How fast one sandbox's records may come; ``flush`` is called soon after some were too fast.

    A program that connects in a loop must not fill the timeline.
    """

    def __init__(self, limits: Limits, flush: Callable[[], None]) -> None:
        self._rate, self._burst = limits.events_per_second, float(limits.events_burst)
        self._tokens = self._burst
        self._filled = 0.0
        self._flush = flush
        self._timer: asyncio.TimerHandle | None = None

    def allows(self) -> bool:
        """Whether a record may be told now; otherwise it is to be counted."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return True
        if self._timer is None:
            self._timer = loop.call_later(_REPEAT_SECONDS, self._flush)
        return False

    def settle(self) -> None:
        """What was counted is being told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Closings:
    """Connections of one sandbox that are over. Of those that come too fast, the sum is told."""

    def __init__(self, sandbox_id: str, *, tell: Tell, limits: Limits) -> None:
        self._sandbox_id = sandbox_id
        self._tell = tell
        self._pace = _Pace(limits, self.flush)
        self._counts = dict.fromkeys(_COUNTED, 0)

    def add(self, connection: Connection) -> None:
        """One that is over. The host hears of each, so that it knows what is still open."""
        record = connection.closed()
        if self._pace.allows():
            self._tell(record)
            return
        for name in _COUNTED:
            self._counts[name] += record.get(name, 1)
        self._tell({"op": "counted", "sandbox_id": self._sandbox_id, "number": connection.number})

    def flush(self) -> None:
        """Tell what was counted so far."""
        self._pace.settle()
        if self._counts["left_out"]:
            counts, self._counts = self._counts, dict.fromkeys(_COUNTED, 0)
            nobody = {"scheme": "", "host": "", "port": 0, "address": "", "reason": "repeated"}
            self._tell({"op": "closed", "sandbox_id": self._sandbox_id, **nobody, **counts})


class Denials:
    """Refusals of one sandbox, told at once, and counted when they come too fast."""

    def __init__(self, sandbox_id: str, *, tell: Tell, limits: Limits) -> None:
        self._sandbox_id = sandbox_id
        self._tell = tell
        self._pace = _Pace(limits, self.flush)
        self._left_out = 0

    def add(
        self,
        reason: str,
        detail: str,
        *,
        target: Target | None = None,
        address: str = "",
        allow: str = "",
    ) -> None:
        """One refusal. ``target`` is ``None`` when the request was not understood."""
        if not self._pace.allows():
            self._left_out += 1
            return
        self._send(
            scheme=target.scheme if target else "",
            host=target.host if target else "",
            port=target.port if target else 0,
            address=address,
            reason=reason,
            detail=detail[:_TEXT_LIMIT],
            allow=allow,
        )

    def flush(self) -> None:
        """Tell what was left out so far."""
        self._pace.settle()
        if self._left_out:
            count = self._left_out
            detail = f"{count} more connections were refused in quick succession."
            self._send(
                scheme="", host="", port=0, address="", reason="repeated", detail=detail, allow=""
            )

    def _send(self, **data: object) -> None:
        left_out, self._left_out = self._left_out, 0
        self._tell({"op": "denied", "sandbox_id": self._sandbox_id, **data, "left_out": left_out})
