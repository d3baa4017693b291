"""The sandbox host's side of the proxy: what is to be served, whatever happens to the process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandboxes.host.egress import control, spawn
from sandboxes.host.egress.control import PROTOCOL, Control, Message
from sandboxes.host.egress.events import event
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy
from timeline.events import NewEvent

log = logging.getLogger(__name__)

#: Called with a sandbox id and its event, in the loop; it must have written it when it returns.
Report = Callable[[str, NewEvent], None]

_CALL_SECONDS = 10.0
_PAUSES = (0.05, 0.2, 1.0, 5.0)
ORPHAN_SECONDS = 300.0


class EgressError(Exception):
    """The proxy cannot be had; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class _Served:
    listener: socket.socket
    policy: Policy


class EgressClient:
    """Keeps one proxy running and serving exactly what ``add`` was called for.

    ``stage`` is where the host mounts what sandboxes are made of, which the proxy must not hold.

    A proxy that dies is started again and given every listener anew; the connections that were
    open through it are reported as ended by ``proxy_lost``. One that an earlier host left running
    is taken over with its listeners (``serving`` names them) and open connections.
    """

    def __init__(
        self,
        directory: Path,
        *,
        report: Report,
        uid: int = spawn.PROXY_UID,
        limits: Limits | None = None,
        orphan_seconds: float = ORPHAN_SECONDS,
        stage: Path | None = None,
    ) -> None:
        self._directory = directory
        self._stage = stage
        self._report = report
        self._uid = uid
        self._limits = limits or Limits()
        self._orphan_seconds = orphan_seconds
        self._served: dict[str, _Served] = {}
        self._open: dict[int, Message] = {}
        self._calls: dict[int, asyncio.Future[Message]] = {}
        self._numbers = 0
        self._control: Control | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = asyncio.Event()
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over a running proxy or start one. Raises ``EgressError``."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keeper = asyncio.ensure_future(self._keep())
        await self._until_ready()

    def serving(self) -> dict[str, Policy]:
        """Whom the proxy serves, those taken over included."""
        return {sandbox_id: served.policy for sandbox_id, served in self._served.items()}

    @property
    def pid(self) -> int | None:
        """The proxy's process, if this host started it."""
        return self._process.pid if self._process else None

    async def add(self, sandbox_id: str, listener: socket.socket, policy: Policy) -> None:
        """Serve ``listener``, which is this object's from now on. Raises ``EgressError``."""
        self._forget(sandbox_id)
        self._served[sandbox_id] = _Served(listener, policy)
        await self._settle(self._adding(sandbox_id), [listener.fileno()])

    async def update(self, sandbox_id: str, policy: Policy) -> None:
        """Another allowlist, for what is open too. Raises ``KeyError``, ``EgressError``."""
        self._served[sandbox_id] = replace(self._served[sandbox_id], policy=policy)
        rules = policy.to_json()
        await self._settle({"op": "update", "sandbox_id": sandbox_id, "rules": rules})

    async def remove(self, sandbox_id: str) -> None:
        """End all of a sandbox's connections; every one has been reported on return. Idempotent."""
        if self._forget(sandbox_id):
            await self._settle({"op": "remove", "sandbox_id": sandbox_id})

    async def close(self, *, stop: bool) -> None:
        """Leave. ``stop`` ends the proxy; otherwise it serves on for the next host."""
        if stop and self._ready.is_set():
            with suppress(EgressError):
                await self._call({"op": "stop"})
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._control is not None:
            self._control.close()
        if stop:
            await spawn.end_leftover(self._directory)
            if self._process is not None:
                await asyncio.to_thread(self._process.wait, _CALL_SECONDS)
        for sandbox_id in list(self._served):
            self._forget(sandbox_id)

    async def _keep(self) -> None:
        """Have a proxy, always; wait longer after each failure."""
        failures, adopt = 0, True
        while True:
            try:
                await self._connect(adopt=adopt)
            except (OSError, TimeoutError, EgressError) as error:
                log.warning("the egress proxy did not start: %s", error)
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures, adopt = failures + 1, False
                continue
            failures = 0
            if not self._gone.is_set():
                self._ready.set()
            await self._gone.wait()
            self._ready.clear()
            log.warning("the egress proxy is gone; starting another")
            self._report_lost()
            adopt = False

    async def _connect(self, *, adopt: bool) -> None:
        path = spawn.socket_path(self._directory)
        try:
            if not adopt:
                raise ConnectionRefusedError
            sock = control.connect(path)
        except OSError:
            await self._spawn()
            sock = control.connect(path)
        self._gone.clear()
        self._control = Control(sock, on_message=self._heard, on_close=self._left)
        wanted = dict(self._served)
        answer = await self._call({"op": "hello"})
        if answer.get("protocol") != PROTOCOL:
            self._control.close()
            raise EgressError("The running proxy is of another version.")
        for sandbox_id in wanted:
            if sandbox_id in self._served:
                fds = [self._served[sandbox_id].listener.fileno()]
                await self._call(self._adding(sandbox_id), fds)

    async def _spawn(self) -> None:
        old = self._process
        self._process = await spawn.start(
            self._directory,
            uid=self._uid,
            limits=self._limits,
            orphan_seconds=self._orphan_seconds,
            stage=self._stage,
        )
        if old is not None:
            await asyncio.to_thread(old.wait, _CALL_SECONDS)

    def _adding(self, sandbox_id: str) -> Message:
        rules = self._served[sandbox_id].policy.to_json()
        return {"op": "add", "sandbox_id": sandbox_id, "rules": rules}

    async def _settle(self, message: Message, fds: list[int] | None = None) -> None:
        """Have it done. A proxy that dies meanwhile learns of it when it is started again."""
        await self._until_ready()
        try:
            await self._call(message, fds)
        except ConnectionError:
            await self._until_ready()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._ready.wait()
        except TimeoutError as error:
            raise EgressError(
                "The egress proxy does not start; the host's log says why."
            ) from error

    async def _call(self, message: Message, fds: list[int] | None = None) -> Message:
        """Raises ``ConnectionError`` when the proxy dies, ``EgressError`` when it refuses."""
        if self._control is None or self._control.closed:
            raise ConnectionResetError("the proxy is gone")
        self._numbers += 1
        number = self._numbers
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            self._control.send({**message, "n": number}, fds or ())
            async with asyncio.timeout(_CALL_SECONDS):
                answer = await future
        except TimeoutError as error:
            self._control.close()
            raise EgressError("The egress proxy does not answer.") from error
        finally:
            self._calls.pop(number, None)
        if "error" in answer:
            raise EgressError(f"The egress proxy refused: {answer['error']}")
        return answer

    def _heard(self, message: Message, fds: list[int]) -> None:
        """One message of the proxy. What is not understood is dropped: it may be an attacker's."""
        with suppress(KeyError, TypeError, ValueError):
            match message.get("op"):
                case "answer":
                    if (future := self._calls.get(int(message["n"]))) and not future.done():
                        future.set_result(message)
                case "have":
                    self._adopt(message, fds)
                case _:
                    self._record(message)
        for fd in fds:
            os.close(fd)

    def _adopt(self, message: Message, fds: list[int]) -> None:
        sandbox_id = str(message["sandbox_id"])
        if sandbox_id not in self._served and fds:
            policy = Policy.from_json(message["rules"])
            listener = socket.socket(fileno=os.dup(fds[0]))
            self._served[sandbox_id] = _Served(listener, policy)

    def _record(self, message: Message) -> None:
        number = message.get("number")
        if isinstance(number, int) and message.get("op") == "opened":
            self._open[number] = message
        elif isinstance(number, int):
            self._open.pop(number, None)
        self._tell(message)
        if self._control is not None and isinstance(message.get("record"), int):
            with suppress(ConnectionError):
                self._control.send({"op": "written", "record": message["record"]})

    def _tell(self, record: dict[str, Any]) -> None:
        if lost := record.get("lost"):
            log.error("the egress proxy lost %s records", lost)
        if (made := event(record)) is not None:
            try:
                self._report(str(record.get("sandbox_id", "")), made)
            except Exception:
                log.exception("a connection was not reported")

    def _left(self) -> None:
        self._ready.clear()
        self._gone.set()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the proxy is gone"))

    def _report_lost(self) -> None:
        lost, self._open = self._open, {}
        for record in lost.values():
            self._tell({**record, "op": "closed", "reason": "proxy_lost", "lost": 0})

    def _forget(self, sandbox_id: str) -> bool:
        served = self._served.pop(sandbox_id, None)
        if served is not None:
            served.listener.close()
        return served is not None
