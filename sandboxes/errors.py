"""Why the domain says no. ``sandboxes/api/errors.py`` is the one place that turns these to HTTP."""

from __future__ import annotations

from accounts.errors import NotFound


class SandboxError(Exception):
    """The message is one sentence that says what to do."""


class Missing(NotFound, SandboxError):  # noqa: N818 - reads as what it says
    """Nothing of that id in this account: 404, on pages as in the API."""


class SandboxNotFound(Missing):
    """No such sandbox in this account. A foreign one is told apart from an absent one nowhere."""

    def __init__(self, sandbox_id: str) -> None:
        super().__init__(f"There is no sandbox {sandbox_id[:40]} in this account.")


class WebhookNotFound(Missing):
    """No such webhook or delivery in this account."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"There is no webhook {webhook_id[:40]} in this account.")


class BadLink(SandboxError):  # noqa: N818 - reads as what it says
    """A signed link that is forged, changed or expired, or whose token is no longer good."""


class PreviewNotFound(SandboxError):  # noqa: N818 - the word of the wire
    """No sandbox of that name, whoever's, or no port. Who looks is asked for nothing else."""


class PreviewGone(SandboxError):  # noqa: N818 - the word of the wire
    """The sandbox behind a preview has ended for good."""


class PreviewLocked(SandboxError):  # noqa: N818 - reads as what it says
    """The preview asks for its sandbox's token, and got none or a wrong one."""


class WrongState(SandboxError):  # noqa: N818 - reads as what it says
    """The sandbox is not in a state in which this can be done."""


class PlanLimit(SandboxError):  # noqa: N818 - the word of the wire
    """The plan does not cover it. ``reason`` is the finer machine word: size, concurrency…"""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UsageExhausted(PlanLimit):
    """The account has used up what its plan lets it use."""


class SnapshotNotFound(Missing):
    """No such snapshot in this account."""

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"There is no snapshot {snapshot_id[:40]} in this account.")


class SnapshotCap(SandboxError):  # noqa: N818 - the word of the wire
    """As many snapshots are kept as the plan covers."""


class VolumeNotFound(Missing):
    """No such volume in this account."""

    def __init__(self, volume_id: str) -> None:
        super().__init__(f"There is no volume {volume_id[:40]} in this account.")


class VolumeInUse(SandboxError):  # noqa: N818 - the word of the wire
    """A sandbox that has not ended holds it."""

    def __init__(self, name: str, holder_id: str) -> None:
        super().__init__(
            f"The volume {name} is in use by sandbox {holder_id}; terminate that one first."
        )


class VolumeExists(SandboxError):  # noqa: N818 - reads as what it says
    """The account has a volume of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a volume {name} already; use it, or take another name.")


class InvalidRequest(SandboxError):  # noqa: N818 - reads as what it says
    """What was asked for makes no sense, or is more than a request may hold."""


class NotAvailable(SandboxError):  # noqa: N818 - reads as what it says
    """It makes sense, but this installation cannot do it."""
