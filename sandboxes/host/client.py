"""The host's client: what the API calls. Plain asyncio, no Django, one connection per call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from sandboxes.host import wire
from sandboxes.host.calling import Caller, answer, exec_header, limited, long_answer, with_actor
from sandboxes.host.egress.policy import Policy, Rule
from sandboxes.host.types import (
    Availability,
    CapturedSandbox,
    Created,
    CreateSpec,
    Directory,
    Entry,
    ExecEvent,
    ExecOutcome,
    ExecRequest,
    Exited,
    FileContent,
    MeterInfo,
    MetricsInfo,
    PausedSandbox,
    SampleInfo,
    Stat,
)
from timeline.events import Actor

#: A command's answer may take its own timeout, two seconds of grace before KILL, and then some.
EXEC_SLACK_SECONDS: Final = 30.0


class HostClient(Caller):
    """All of a host but what has a client of its own. Every method raises ``HostError``."""

    async def ping(self) -> dict[str, Any]:
        """``{"version", "sandboxes": running, "templates": [names that are ready]}``."""
        header = (await self._call("ping")).header
        return {key: header[key] for key in ("version", "sandboxes", "templates")}

    async def prometheus(self) -> bytes:
        """What the host counts, in Prometheus' text format."""
        return (await self._call("prometheus")).payload

    async def templates(self) -> list[Availability]:
        header = (await self._call("templates")).header
        return [Availability(**row) for row in header["templates"]]

    async def isolations(self) -> list[Availability]:
        """The classes of isolation, and whether this host can give them."""
        header = (await self._call("templates")).header
        return [Availability(**row) for row in header["isolations"]]

    async def create(self, spec: CreateSpec, *, actor: Actor) -> Created:
        """Start a sandbox; it runs when this returns.

        Codes: template_unavailable, isolation_unavailable, host_full, volume_in_use, volume_gone.
        """
        fields = asdict(spec)
        frame = await self._call("create", {"spec": fields}, actor=actor)
        return Created(boot_ms=frame.header["boot_ms"])

    async def terminate(self, sandbox_id: str, *, actor: Actor, reason: str) -> None:
        """End a sandbox for good. Idempotent; an id the host does not know is fine."""
        await self._call("terminate", {"sandbox_id": sandbox_id, "reason": reason}, actor=actor)

    async def shutdown(self, *, actor: Actor) -> None:
        """End every sandbox of the host, then the host itself."""
        await self._call("shutdown", actor=actor)

    async def sandboxes(self) -> list[str]:
        """Ids of the sandboxes that run or are paused."""
        return list(await self.statuses())

    async def statuses(self) -> dict[str, str]:
        """running or paused, by the ids of the host's sandboxes."""
        header = (await self._call("sandboxes")).header
        paused = set(header["paused"])
        return {one: "paused" if one in paused else "running" for one in header["sandboxes"]}

    async def pause(
        self, sandbox_id: str, *, snapshot_id: str, reason: str, actor: Actor
    ) -> PausedSandbox:
        """Hold everything in it still. Codes: paused, not_running, not_found."""
        fields = {"sandbox_id": sandbox_id, "snapshot_id": snapshot_id, "reason": reason}
        header = (await self._call("pause", fields, actor=actor)).header
        return PausedSandbox(
            size_mb=header["size_mb"],
            at=header["at"],
            is_saved=header["is_saved"],
            unsaved=header["unsaved"],
        )

    async def resume(
        self, sandbox_id: str, *, reason: str, timeout_seconds: int, expires_at: str, actor: Actor
    ) -> None:
        """Let everything in it go on. Codes: not_paused, not_running, not_found."""
        clock = {"timeout_seconds": timeout_seconds, "expires_at": expires_at}
        fields = {"sandbox_id": sandbox_id, "reason": reason, **clock}
        await self._call("resume", fields, actor=actor)

    async def snapshot(
        self, sandbox_id: str, *, snapshot_id: str, name: str, actor: Actor
    ) -> CapturedSandbox:
        """Keep a copy of it, which goes on afterwards. Codes: host_full."""
        fields = {"sandbox_id": sandbox_id, "snapshot_id": snapshot_id, "name": name}
        header = (await self._call("snapshot", fields, actor=actor)).header
        return CapturedSandbox(header["size_mb"], header["includes_memory"], header["without"])

    async def snapshot_drop(self, snapshot_id: str) -> None:
        """Remove a copy. One that is not there is fine."""
        await self._call("snapshot_drop", {"snapshot_id": snapshot_id})

    async def registries(self) -> tuple[Rule, ...]:
        """The package registries that the host's machine uses, as rules of an allowlist."""
        return Policy.from_json((await self._call("registries")).header["rules"]).rules

    async def allow(self, sandbox_id: str, domain: str) -> None:
        """Open a restricted network to a domain and all below it, over TLS, from now on."""
        await self._call("allow", {"sandbox_id": sandbox_id, "domain": domain})

    async def metrics(self, sandbox_id: str, *, since: int = 0) -> MetricsInfo:
        """What a sandbox uses; samples later than the Unix second ``since``. Code: not_found."""
        fields = {"sandbox_id": sandbox_id, "since": since}
        header = (await self._call("metrics", fields)).header
        return MetricsInfo(
            cpu_us=header["cpu_us"],
            memory_kib_ms=header["memory_kib_ms"],
            running=header["running"],
            samples=[SampleInfo(*row) for row in header["samples"]],
        )

    async def meters(self) -> list[MeterInfo]:
        """What every sandbox has used: the running ones, and ended ones until ``meters_stored``."""
        return [MeterInfo(*row) for row in (await self._call("meters")).header["meters"]]

    async def meters_stored(self, sandbox_ids: Sequence[str]) -> None:
        """The totals of these ended sandboxes are kept elsewhere; the host may forget them."""
        await self._call("meters_stored", {"sandbox_ids": list(sandbox_ids)})

    async def exec(self, sandbox_id: str, request: ExecRequest, *, actor: Actor) -> ExecOutcome:
        """Run a command and wait for its end. A timeout is an outcome, not an error."""
        seconds = request.timeout_seconds + EXEC_SLACK_SECONDS
        header, payload = exec_header("exec", sandbox_id, request)
        async with self._connection() as (reader, writer), limited(seconds):
            writer.write(wire.pack(with_actor(header, actor), payload))
            await writer.drain()
            answered, stdout = await long_answer(reader)
            _, stderr = await long_answer(reader)
        return ExecOutcome(stdout=stdout, stderr=stderr, **answered["outcome"])

    async def exec_stream(
        self, sandbox_id: str, request: ExecRequest, *, actor: Actor
    ) -> AsyncIterator[ExecEvent]:
        """Run a command and yield ``Started``, chunks as they are written, ``Exited``.

        Closing the iterator early leaves the command running to its own timeout.
        """
        header, payload = exec_header("exec_stream", sandbox_id, request)
        async with self._connection() as (reader, writer):
            writer.write(wire.pack(with_actor(header, actor), payload))
            await writer.drain()
            while True:
                event = wire.exec_event(await answer(reader))
                yield event
                if isinstance(event, Exited):
                    return

    async def write_file(
        self,
        sandbox_id: str,
        path: str,
        content: bytes,
        *,
        mode: int = 0o644,
        replacing: str | None = None,
        actor: Actor,
    ) -> int:
        """Write a whole file, its parents too; the number of bytes written.

        ``replacing`` is the ``types.version`` of what it may replace, empty for nothing. Code:
        file_changed when that is not what is there.
        """
        fields: dict[str, Any] = {"sandbox_id": sandbox_id, "path": path, "mode": mode}
        if replacing is not None:
            fields["replacing"] = replacing
        frame = await self._call("write_file", fields, payload=content, actor=actor)
        size: int = frame.header["size"]
        return size

    async def read_path(
        self, sandbox_id: str, path: str, *, actor: Actor
    ) -> FileContent | Directory:
        """A file's content or a directory's entries."""
        fields = {"sandbox_id": sandbox_id, "path": path}
        frame = await self._call("read_path", fields, actor=actor)
        header = frame.header
        if "entries" in header:
            entries = [Entry(*row) for row in header["entries"]]
            return Directory(entries, truncated=header["truncated"])
        return FileContent(frame.payload, header["size"], header["mode"], header["modified_at"])

    async def delete_file(self, sandbox_id: str, path: str, *, actor: Actor) -> None:
        await self._call("delete_file", {"sandbox_id": sandbox_id, "path": path}, actor=actor)

    async def make_dir(
        self, sandbox_id: str, path: str, *, parents: bool = True, actor: Actor
    ) -> None:
        fields = {"sandbox_id": sandbox_id, "path": path, "parents": parents}
        await self._call("make_dir", fields, actor=actor)

    async def move(self, sandbox_id: str, source: str, destination: str, *, actor: Actor) -> None:
        fields = {"sandbox_id": sandbox_id, "source": source, "destination": destination}
        await self._call("move", fields, actor=actor)

    async def stat(self, sandbox_id: str, path: str, *, actor: Actor) -> Stat:
        """What a path is; an absent one is an answer, not an error."""
        frame = await self._call("stat", {"sandbox_id": sandbox_id, "path": path}, actor=actor)
        fields = {key: value for key, value in frame.header.items() if key != "ok"}
        return Stat(**fields)
