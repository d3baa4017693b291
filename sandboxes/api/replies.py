"""What the API answers, as JSON. Dictionaries are made here and nowhere else."""

from __future__ import annotations

import base64
import codecs
from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from sandboxes.code import LANGUAGE
from sandboxes.host.code.types import ContextInfo
from sandboxes.host.ledger import BackgroundCommand, Slice
from sandboxes.host.meter import INTERVAL_SECONDS, WINDOW_SECONDS
from sandboxes.host.output import unfinished_character
from sandboxes.host.types import Directory, Entry, ExecOutcome, FileContent, Stat
from sandboxes.models import Sandbox, Snapshot, Status, Volume
from sandboxes.preview_names import preview_host_base, preview_token
from sandboxes.selectors import Limits, Page
from sandboxes.usage.metrics import Metrics
from sandboxes.webhooks.models import Webhook


def reply(payload: Any, *, status: int = 200) -> HttpResponse:
    """One JSON answer, which nobody on the way keeps or takes for something else."""
    body = orjson.dumps(payload)
    response = HttpResponse(body, status=status, content_type="application/json")
    response["Content-Length"] = str(len(body))
    protect(response)
    return response


def protect(response: HttpResponseBase) -> None:
    """Have nobody on the way keep it or take it for something else."""
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"


def nothing() -> HttpResponse:
    """204."""
    return HttpResponse(status=204)


def sandbox_json(sandbox: Sandbox) -> dict[str, Any]:
    """A sandbox as the wire has it. What this installation cannot do yet is null or false."""
    return {
        "id": sandbox.id,
        "status": sandbox.status,
        "template": sandbox.template,
        "network": sandbox.network,
        "isolation": sandbox.isolation,
        "allow_domains": sandbox.allow_domains,
        "size": sandbox.size,
        "cpu": float(sandbox.cpu),
        "memory_mb": sandbox.memory_mb,
        "region": sandbox.region,
        "created_at": sandbox.created_at.isoformat(),
        "expires_at": sandbox.expires_at.isoformat(),
        "on_timeout": sandbox.on_timeout,
        "auto_resume": sandbox.auto_resume,
        "preview_auth": sandbox.preview_auth,
        "preview_auth_token": preview_token(sandbox.id) if sandbox.preview_auth else None,
        "paused_expires_at": _paused_expires_at(sandbox),
        "node_id": sandbox.node_id,
        "metadata": sandbox.metadata,
        "volume": sandbox.volume_name or None,
        "budget_eur": None if sandbox.budget_eur is None else float(sandbox.budget_eur),
        "preview_host_base": None if sandbox.ended else preview_host_base(sandbox.id),
    }


def _paused_expires_at(sandbox: Sandbox) -> str | None:
    moment = sandbox.paused_expires_at
    return moment.isoformat() if moment and sandbox.status == Status.PAUSED else None


def paused_json(sandbox: Sandbox) -> dict[str, Any]:
    """A pause, as the wire has it, and how long what it keeps can be relied on."""
    since = sandbox.paused_at or sandbox.turned_at
    return {
        "sandbox_id": sandbox.id,
        "snapshot_id": sandbox.snapshot_id,
        "status": sandbox.status,
        "snapshot_size_mb": sandbox.snapshot_size_mb,
        "keeps": ["files", "memory", "processes"],
        "survives_machine_restart": sandbox.survives_machine_restart,
        "why_not": sandbox.why_unsaved or None,
        "created_at": since.isoformat(),
    }


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """A named snapshot, with its sandbox's memory where the host could write it down."""
    ready = snapshot.ready_at
    return {
        "id": snapshot.id,
        "name": snapshot.name or None,
        "status": snapshot.status,
        "template": snapshot.template,
        "cpu": float(snapshot.cpu),
        "memory_mb": snapshot.memory_mb,
        "network": snapshot.network,
        "source_sandbox_id": snapshot.source_id,
        "size_mb": snapshot.size_mb,
        "node_id": snapshot.node_id,
        "region": snapshot.region,
        "error_message": snapshot.error or None,
        "created_at": snapshot.created_at.isoformat(),
        "ready_at": ready.isoformat() if ready else None,
        "includes_memory": snapshot.includes_memory,
        "why_no_memory": snapshot.why_no_memory or None,
    }


def volume_json(volume: Volume) -> dict[str, Any]:
    """A volume, and who has it."""
    expires = volume.expires_at
    return {
        "id": volume.id,
        "name": volume.name,
        "size_mb": volume.size_mb,
        "status": "ready",
        "region": volume.region or None,
        "node_id": volume.node_id or None,
        "attached_sandbox_id": volume.holder_id,
        "max_lifetime_days": volume.max_lifetime_days,
        "max_lifetime_hours": volume.max_lifetime_hours,
        "expires_at": expires.isoformat() if expires else None,
        "created_at": volume.created_at.isoformat(),
    }


def page_json(page: Page) -> dict[str, Any]:
    """A page of sandboxes."""
    return {
        "sandboxes": [sandbox_json(row) for row in page.rows],
        "total": page.total,
        "next_cursor": page.next_cursor,
    }


def webhook_json(hook: Webhook) -> dict[str, Any]:
    """A webhook without its secret."""
    last = hook.last_delivery_at
    return {
        "id": hook.id,
        "url": hook.url,
        "event_types": hook.event_types,
        "active": hook.active,
        "consecutive_failures": hook.consecutive_failures,
        "last_delivery_at": last.isoformat() if last else None,
        "last_error": hook.last_error,
        "created_at": hook.created_at.isoformat(),
    }


def limits_json(limits: Limits) -> dict[str, Any]:
    """The plan, and what restricted networks reach by default."""
    plan = limits.account.plan
    sizes = [
        {
            "size": offer.size.name,
            "cpu": float(offer.size.cpu),
            "memory_mb": offer.size.memory_mb,
            "allowed": offer.allowed,
        }
        for offer in limits.sizes
    ]
    return {
        "plan": plan.name,
        "allowed_sizes": [offer.size.name for offer in limits.sizes if offer.allowed],
        "sizes": sizes,
        "regions": [{"id": region, "label": label} for region, label in limits.regions],
        "max_concurrent": plan.max_concurrent,
        "max_snapshots": plan.max_snapshots,
        "max_named_snapshots": plan.max_named_snapshots,
        "max_volumes": plan.max_volumes,
        "max_volume_mb": plan.max_volume_mb,
        "max_timeout_seconds": plan.max_timeout_seconds,
        "custom_egress_allowlist": plan.custom_egress_allowlist,
        "default_egress_domains": limits.egress_domains,
        "trial_credit_eur": float(plan.trial_credit_eur),
        "trial_credit_used_eur": float(limits.credit_used_eur),
        "max_running_lifetime_seconds": plan.max_running_lifetime_seconds,
    }


def metrics_json(metrics: Metrics) -> dict[str, Any]:
    """Live usage and the window. Percentages are of the sandbox's size."""
    sandbox, now = metrics.sandbox, metrics.now
    return {
        "sandbox_id": sandbox.id,
        "sandbox_status": sandbox.status,
        "as_of": metrics.as_of.isoformat(),
        "as_of_unix": int(metrics.as_of.timestamp()),
        "sample_interval_seconds": INTERVAL_SECONDS,
        "window_seconds": WINDOW_SECONDS,
        "cpu": {
            "cores": float(sandbox.cpu),
            "usage_cores": now.cores if now else None,
            "usage_percent": metrics.cpu_percent(now) if now else None,
        },
        "memory": {
            "limit_bytes": metrics.memory_limit,
            "usage_bytes": now.memory if now else None,
            "usage_percent": metrics.memory_percent(now) if now else None,
        },
        "lifetime": {
            "cpu_seconds": metrics.lifetime.cpu_seconds,
            "gb_seconds": round(metrics.lifetime.gb_seconds, 6),
        },
        "samples": [
            {
                "t": moment_json(one.at),
                "cpu_percent": metrics.cpu_percent(one),
                "mem_bytes": one.memory,
            }
            for one in metrics.samples
        ],
    }


def exec_json(outcome: ExecOutcome) -> dict[str, Any]:
    """A command that exited by itself. What is not UTF-8 is replaced; a stream has every byte."""
    output = {"stdout": text_of(outcome.stdout), "stderr": text_of(outcome.stderr)}
    return {**output, **exec_ending(outcome)}


def exec_ending(outcome: ExecOutcome) -> dict[str, Any]:
    """All of it but the output."""
    body: dict[str, Any] = {"exit_code": outcome.exit_code, "duration_ms": outcome.duration_ms}
    if outcome.stdout_dropped or outcome.stderr_dropped:
        body["stdout_dropped"] = outcome.stdout_dropped
        body["stderr_dropped"] = outcome.stderr_dropped
    return body


def command_json(command: BackgroundCommand) -> dict[str, Any]:
    """A background command. One that is over has no process any more."""
    return {
        "id": command.id,
        "command": command.command,
        "pid": None if command.is_over else command.pid,
        "status": command.status,
        "exit_code": command.exit_code,
        "started_at": datetime.fromtimestamp(command.started_at / 1e6, tz=UTC).isoformat(),
    }


def log_json(part: Slice, *, offset: int) -> dict[str, Any]:
    """A part of a command's output. ``offset + len(content.encode())`` is where the next begins.

    So what is no UTF-8 counts: each such byte is one question mark. The bytes of a character that
    is not whole yet are left for the next time.
    """
    whole = len(part.data)
    if not part.is_over or offset + whole < part.size:
        whole = unfinished_character(part.data)
    return {
        "content": part.data[:whole].decode("utf-8", "question_marks"),
        "size": part.size,
        "truncated": offset + len(part.data) < part.size,
    }


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - only ever decodes
    return "?" * (error.end - error.start), error.end


codecs.register_error("question_marks", _question_marks)


def text_of(output: bytes | bytearray) -> str:
    """Output as text that JSON can carry."""
    return output.decode("utf-8", "replace")


def file_json(path: str, found: FileContent | Directory) -> dict[str, Any]:
    """A file with its content in base64, or a directory with its entries."""
    if isinstance(found, Directory):
        entries = [_entry_json(entry) for entry in found.entries]
        return {"path": path, "is_dir": True, "entries": entries, "truncated": found.truncated}
    return {
        "path": path,
        "is_dir": False,
        "content": base64.b64encode(found.content).decode("ascii"),
        "size": found.size,
        "mode": found.mode,
        "modified_at": moment_json(found.modified_at),
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name.encode("utf-8", "replace").decode(),
        "is_dir": entry.is_dir,
        "size": entry.size,
        "mode": entry.mode,
        "modified_at": moment_json(entry.modified_at),
    }


def stat_json(stat: Stat) -> dict[str, Any]:
    """What a path is; an absent one is an answer too."""
    return {
        "path": stat.path,
        "exists": stat.exists,
        "is_dir": stat.is_dir,
        "size": stat.size,
        "mode": stat.mode if stat.exists else None,
        "modified_at": moment_json(stat.modified_at) if stat.exists else None,
    }


def moment_json(seconds: float) -> str:
    """A file's own clock may say anything at all; what is no date reads as the epoch."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, tz=UTC).isoformat()


def context_json(context: ContextInfo) -> dict[str, Any]:
    """A context of the interpreter."""
    return {
        "context_id": context.context_id,
        "language": LANGUAGE,
        "cwd": context.cwd,
        "created_at": _at(context.created_at),
        "last_used_at": _at(context.last_used_at) if context.last_used_at else None,
        "executions": context.executions,
        "alive": context.alive,
    }


def _at(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, tz=UTC).isoformat()
