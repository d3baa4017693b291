"""The words for what sandboxes and snapshots can be."""

from __future__ import annotations

from django.db import models


class Status(models.TextChoices):
    """The states of the wire."""

    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    PAUSING = "pausing", "Pausing"
    PAUSED = "paused", "Paused"
    RESUMING = "resuming", "Resuming"
    TERMINATED = "terminated", "Terminated"
    FAILED = "failed", "Failed"


class Isolation(models.TextChoices):
    """What stands between a sandbox and the machine's kernel (docs/isolation.md)."""

    RUNC = "runc", "runc"
    GVISOR = "gvisor", "gVisor"


class SnapshotStatus(models.TextChoices):
    """The states of a named snapshot."""

    CAPTURING = "capturing", "Capturing"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


LIVE = (Status.STARTING, Status.RUNNING, Status.PAUSING, Status.RESUMING)
"""The states that use the machine, and so count against a plan's concurrency."""

KEPT = (Status.PAUSING, Status.PAUSED)
"""The states that count against a plan's cap on what is paused."""

ENDED = (Status.TERMINATED, Status.FAILED)
"""The states that a sandbox never leaves."""
