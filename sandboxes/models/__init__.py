"""What the platform knows of a sandbox. What happened inside it is the timeline's.

Everything is imported from here; each module has what its name says.
"""

from __future__ import annotations

from sandboxes.models.allowlist import AllowedDomain, DomainSource, tls_port
from sandboxes.models.masking import MaskingPattern
from sandboxes.models.sandbox import Sandbox, TokenTouch, new_sandbox_id, text_of_sandbox
from sandboxes.models.saved_view import SavedView
from sandboxes.models.snapshot import Snapshot, new_snapshot_id
from sandboxes.models.states import ENDED, KEPT, LIVE, Isolation, SnapshotStatus, Status
from sandboxes.models.volume import Volume, new_volume_id

__all__ = [
    "ENDED",
    "KEPT",
    "LIVE",
    "AllowedDomain",
    "DomainSource",
    "Isolation",
    "MaskingPattern",
    "Sandbox",
    "SavedView",
    "Snapshot",
    "SnapshotStatus",
    "Status",
    "TokenTouch",
    "Volume",
    "new_sandbox_id",
    "new_snapshot_id",
    "new_volume_id",
    "text_of_sandbox",
    "tls_port",
]
