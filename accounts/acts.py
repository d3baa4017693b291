"""What the audit record calls each act, and what people read for it."""

from __future__ import annotations

from typing import Final

AREAS: Final[dict[str, str]] = {
    "person": "Sign-in",
    "member": "Members",
    "token": "Tokens",
    "device": "Command line",
    "sandbox": "Sandboxes",
    "terminal": "Terminals",
    "snapshot": "Snapshots",
    "volume": "Volumes",
    "webhook": "Webhooks",
    "account": "Account",
    "masking": "Masking",
    "allowlist": "Allowlist",
    "usage": "Usage",
    "audit": "Audit record",
    "staff": "Administration",
}
"""The first word of an action."""

ACTS: Final[dict[str, str]] = {
    "person.signed_in": "Signed in",
    "person.signed_out": "Signed out",
    "person.sign_in_failed": "Failed to sign in",
    "token.minted": "Minted a token",
    "token.revoked": "Revoked a token",
    "device.approved": "Approved a login",
    "device.refused": "Refused a login",
    "sandbox.created": "Created a sandbox",
    "sandbox.terminated": "Terminated a sandbox",
    "sandbox.failed": "Sandbox failed",
    "sandbox.paused": "Paused a sandbox",
    "sandbox.resumed": "Resumed a sandbox",
    "sandbox.timeout_changed": "Changed a timeout",
    "sandbox.budget_changed": "Changed a budget",
    "sandbox.held": "Held a run",
    "sandbox.released": "Let a run go on",
    "sandbox.domain_allowed": "Allowed a domain",
    "sandbox.exported": "Exported a run",
    "terminal.opened": "Opened a terminal",
    "terminal.closed": "Closed a terminal",
    "terminal.taken": "Took over a terminal",
    "snapshot.created": "Took a snapshot",
    "snapshot.deleted": "Deleted a snapshot",
    "volume.created": "Created a volume",
    "volume.updated": "Changed a volume",
    "volume.moved": "Moved a volume",
    "volume.deleted": "Deleted a volume",
    "volume.expired": "Volume expired",
    "webhook.created": "Created a webhook",
    "webhook.enabled": "Switched a webhook on",
    "webhook.disabled": "Switched a webhook off",
    "webhook.rotated": "Rotated a webhook's secret",
    "webhook.deleted": "Deleted a webhook",
    "webhook.replayed": "Replayed a delivery",
    "account.cap_changed": "Changed the monthly cap",
    "usage.exported": "Exported usage",
    "masking.added": "Added a masking pattern",
    "masking.changed": "Changed a masking pattern",
    "masking.removed": "Removed a masking pattern",
    "allowlist.switched": "Changed the allowlist",
    "audit.exported": "Exported the audit record",
}


def said(action: str) -> str:
    """An action in words; one that has none yet is read off its name."""
    return ACTS.get(action) or action.replace(".", " ").replace("_", " ").capitalize()
