"""The host's socket: checks who calls, reads one request a connection, answers it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import structlog

from sandboxes.host import (
    availability,
    background_calls,
    code_calls,
    command_calls,
    file_calls,
    metrics,
    output_calls,
    ports,
    transfer_calls,
    volume_calls,
    wire,
)
from sandboxes.host.box import check_snapshot_id, parse_spec
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.egress.policy import Policy
from sandboxes.host.metering import metrics_header, rows_header
from sandboxes.host.pausing import INTERRUPTED, Wake
from sandboxes.host.terminals import calls as terminal_calls
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError

VERSION = "1"
_CONNECTIONS = 2048
_REQUEST_SECONDS = 30.0
_REFUSE_SECONDS = 2.0
_REASONS = {
    "requested",
    "expired",
    "paused_expired",
    "shutdown",
    "usage_exhausted",
    "lifetime_cap_reached",
    "monthly_cap_reached",
    "budget_reached",
}
_CREDENTIALS = struct.Struct("iII")

log = logging.getLogger(__name__)


class Server:
    """Serves one host to root and to one other user. ``stopped`` is set by a shutdown call."""

    def __init__(self, host: Host, *, client_uid: int | None) -> None:
        self._host = host
        self._allowed = {0, os.geteuid()} | ({client_uid} if client_uid is not None else set())
        self._client_uid = client_uid
        self._open = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.stopped = asyncio.Event()

    async def listen(self, path: Path) -> None:
        """Raises ``HostError`` when another host serves there, ``OSError`` when it cannot be."""
        await _free(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        if self._client_uid is not None:
            os.chown(path, self._client_uid, -1)
        self._server = await asyncio.start_unix_server(self._accept, sock=sock, backlog=1024)

    async def close(self) -> None:
        """Answer no more. Calls under way are given up; what they began goes on."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        self._open += 1
        try:
            if self._open > _CONNECTIONS:
                return
            if self._is_welcome(writer):
                await self._serve(reader, writer)
            else:
                await _refuse(reader, writer)
        except (ConnectionError, TimeoutError, wire.GarbageError):
            writer.transport.abort()
        except Exception:
            log.exception("A call failed in a way nobody foresaw")
            writer.transport.abort()
        finally:
            self._open -= 1
            if task is not None:
                self._connections.discard(task)
            writer.close()

    def _is_welcome(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the kernel says that the caller is one of those we serve."""
        sock = writer.get_extra_info("socket")
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(data)
        if uid not in self._allowed:
            log.warning("User %d may not call this host", uid)
        return uid in self._allowed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_REQUEST_SECONDS):
            frame = await wire.read_frame(reader)
        if frame is None:
            return
        call = Call(frame, reader, writer)
        about = call.header.get("sandbox_id")
        with (
            structlog.contextvars.bound_contextvars(**({"sandbox_id": about} if about else {})),
            metrics.counted(_label(call)) as outcome,
        ):
            await self._answer(call, outcome)

    async def _answer(self, call: Call, outcome: metrics.Outcome) -> None:
        try:
            with self._interrupts(call):
                await _handler(call.op)(self, call)
        except HostError as error:
            outcome.value = "failed" if error.code == "internal" else "refused"
            await call.send(wire.error_header(error))
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            outcome.value = "failed"
            log.exception("Operation %s failed", call.header.get("op"))
            failure = HostError("internal", "The sandbox host failed; its log says why.")
            await call.send(wire.error_header(failure))

    def _interrupts(self, call: Call) -> AbstractContextManager[None]:
        if call.op not in INTERRUPTED:
            return nullcontext()
        return self._host.live(call.sandbox_id).pause.interrupts()

    async def _ping(self, call: Call) -> None:
        ready = [info.name for info in availability.templates(self._host.store) if info.ready]
        count = len(self._host.ids())
        await call.send({"ok": True, "version": VERSION, "sandboxes": count, "templates": ready})

    async def _prometheus(self, call: Call) -> None:
        text = await in_thread(self._host.threads, metrics.counted_so_far)
        await call.send({"ok": True}, text + metrics.looked_up(self._host))

    async def _templates(self, call: Call) -> None:
        rows = [asdict(info) for info in availability.templates(self._host.store)]
        classes = [asdict(info) for info in availability.isolations(self._host.maker.runtimes)]
        await call.send({"ok": True, "templates": rows, "isolations": classes})

    async def _sandboxes(self, call: Call) -> None:
        paused = self._host.paused_ids()
        await call.send({"ok": True, "sandboxes": self._host.ids(), "paused": paused})

    async def _pause(self, call: Call) -> None:
        paused = await self._host.pause(
            call.sandbox_id,
            snapshot_id=call.text("snapshot_id"),
            reason=call.text("reason"),
            actor=call.actor,
        )
        await call.send(
            {
                "ok": True,
                "size_mb": paused.size_mb,
                "at": paused.at,
                "is_saved": paused.is_saved,
                "unsaved": paused.unsaved,
            }
        )

    async def _resume(self, call: Call) -> None:
        wake = Wake(
            actor=call.actor,
            reason=call.text("reason"),
            timeout_seconds=call.number("timeout_seconds"),
            expires_at=call.text("expires_at"),
        )
        await self._host.resume(call.sandbox_id, wake)
        await call.send({"ok": True})

    async def _snapshot(self, call: Call) -> None:
        captured = await self._host.snapshot(
            call.sandbox_id,
            snapshot_id=check_snapshot_id(call.text("snapshot_id")),
            name=call.text("name"),
            actor=call.actor,
        )
        found = {"includes_memory": captured.memory, "without": captured.without}
        await call.send({"ok": True, "size_mb": captured.size_mb, **found})

    async def _snapshot_drop(self, call: Call) -> None:
        drop = partial(self._host.snapshots.drop, check_snapshot_id(call.text("snapshot_id")))
        await in_thread(self._host.threads, drop)
        await call.send({"ok": True})

    async def _registries(self, call: Call) -> None:
        found = await self._host.connections.registries()
        await call.send({"ok": True, "rules": Policy(found.rules).to_json()})

    async def _create(self, call: Call) -> None:
        spec = parse_spec(call.header.get("spec"))
        boot_ms = await self._host.create(spec, actor=call.actor)
        metrics.boot_seconds.observe(boot_ms / 1000)
        await call.send({"ok": True, "boot_ms": boot_ms})

    async def _terminate(self, call: Call) -> None:
        reason = call.text("reason")
        if reason not in _REASONS:
            raise HostError("invalid", f"The reason must be one of {', '.join(sorted(_REASONS))}.")
        await self._host.terminate(call.sandbox_id, actor=call.actor, reason=reason)
        await call.send({"ok": True})

    async def _metrics(self, call: Call) -> None:
        found = await self._host.metering.metrics(call.sandbox_id, since=call.number("since"))
        await call.send(metrics_header(found))

    async def _meters(self, call: Call) -> None:
        await call.send(rows_header(await self._host.metering.rows()))

    async def _meters_stored(self, call: Call) -> None:
        await self._host.metering.stored(call.texts("sandbox_ids"))
        await call.send({"ok": True})

    async def _allow(self, call: Call) -> None:
        await self._host.allow(call.sandbox_id, call.text("domain"))
        await call.send({"ok": True})

    async def _shutdown(self, call: Call) -> None:
        await self._host.end_all(actor=call.actor)
        await call.send({"ok": True})
        self.stopped.set()


_CALLS = {
    **background_calls.CALLS,
    **output_calls.CALLS,
    **ports.CALLS,
    **terminal_calls.CALLS,
    **code_calls.CALLS,
    **command_calls.CALLS,
    **file_calls.CALLS,
    **transfer_calls.CALLS,
    **volume_calls.CALLS,
}


def _of_host(op: str) -> Callable[[Server, Call], Awaitable[None]]:
    handler = _CALLS[op]
    return lambda server, call: handler(server._host, call)


_HANDLERS: Mapping[str, Callable[[Server, Call], Awaitable[None]]] = {
    "ping": Server._ping,
    "prometheus": Server._prometheus,
    "templates": Server._templates,
    "sandboxes": Server._sandboxes,
    "registries": Server._registries,
    "create": Server._create,
    "terminate": Server._terminate,
    "pause": Server._pause,
    "resume": Server._resume,
    "snapshot": Server._snapshot,
    "snapshot_drop": Server._snapshot_drop,
    "metrics": Server._metrics,
    "meters": Server._meters,
    "meters_stored": Server._meters_stored,
    "allow": Server._allow,
    "shutdown": Server._shutdown,
    **{op: _of_host(op) for op in _CALLS},
}


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a little first: closing with unread bytes would take the answer back."""
    async with asyncio.timeout(_REFUSE_SECONDS):
        await reader.read(wire.HEADER_LIMIT)
    error = HostError("not_permitted", "This user may not call the sandbox host.")
    writer.write(wire.pack(wire.error_header(error)))


def _label(call: Call) -> str:
    op = call.header.get("op")
    return op if isinstance(op, str) and op in _HANDLERS else metrics.UNKNOWN


def _handler(op: str) -> Callable[[Server, Call], Awaitable[None]]:
    handler = _HANDLERS.get(op)
    if handler is None:
        raise HostError("invalid", "This host knows no such operation; update it.")
    return handler


async def _free(path: Path) -> None:
    """Remove a dead host's socket. Raises ``HostError`` when the host there is alive."""
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except FileNotFoundError:
        return
    except OSError:
        _unlink(path)
        return
    writer.close()
    raise HostError("invalid", f"Another sandbox host serves {path}; stop it first.")


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
