"""Every route there is, read from the API itself, so that tests of all routes miss no new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ninja.operation import Operation

from sandboxes.api.access import Bearer
from sandboxes.api.api import api
from sandboxes.models import Snapshot, Volume, new_volume_id
from sandboxes.webhooks.models import Webhook
from sandboxes.webhooks.signing import new_salt
from tests.cast import Cast

BODIES: dict[str, dict[str, Any]] = {
    "create_sandbox": {"template": "debian-12"},
    "set_timeout": {"timeout_seconds": 600},
    "exec_command": {"command": "true"},
    "write_file": {"path": "/workspace/f", "content": ""},
    "make_directory": {"path": "/workspace/d"},
    "move_path": {"source": "/workspace/f", "destination": "/workspace/g"},
    "start_command": {"command": "true"},
    "presign_download": {"path": "/workspace/f"},
    "presign_upload": {"path": "/workspace/f"},
    "write_batch": {"files": [{"path": "/workspace/f", "content": ""}]},
    "run_code": {"code": "1"},
    "create_context": {"cwd": "/workspace"},
    "create_snapshot": {"name": "base"},
    "create_volume": {"name": "made"},
    "update_volume": {"max_lifetime_days": None},
    "move_volume": {"region": "local"},
    "create_webhook": {"url": "http://203.0.113.9/hook"},
}
"""A good body for each route that takes one."""


def _webhook(account: Cast) -> str:
    """Straight into the table: a coroutine would leave a connection behind in its thread."""
    url = "http://203.0.113.9/hook"
    row = {"account": account.account, "actor": {"type": "system"}, "url": url, "salt": new_salt()}
    return Webhook.objects.create(**row).id


def _snapshot(account: Cast) -> str:
    spec = {"template": "debian-12", "size": "small", "cpu": 1, "memory_mb": 1024}
    place = {"network": "off", "region": "local", "node_id": "local", "source_id": "sbx_gone"}
    return Snapshot.objects.create(account=account.account, **spec, **place).id


def _volume(account: Cast) -> str:
    """A name is one of a kind within an account, so it is the id."""
    volume_id = new_volume_id()
    row = {"account": account.account, "name": volume_id.removeprefix("vol_"), "size_mb": 256}
    return Volume.objects.create(id=volume_id, **row).id


MADE: dict[str, Callable[[Cast], str]] = {
    "{webhook_id}": _webhook,
    "{snapshot_id}": _snapshot,
    "{volume_id}": _volume,
}
"""How to make what a path names besides a sandbox."""


@dataclass(frozen=True)
class Route:
    """``path`` still holds ``{sandbox_id}``; ``scope`` is what its token must have."""

    name: str
    method: str
    path: str
    scope: str

    @property
    def in_sandbox(self) -> bool:
        return "{sandbox_id}" in self.path

    @property
    def body(self) -> dict[str, Any] | None:
        return BODIES.get(self.name)

    def address(self, sandbox_id: str, *, account: Cast | None = None) -> str:
        """With the query that the route needs, and with what it names made for ``account``."""
        path = self.path.replace("{sandbox_id}", sandbox_id)
        path = path.replace("{command_id}", "cmd_" + "0" * 26)
        path = path.replace("{context_id}", "ctx_" + "0" * 26)
        for name, make in MADE.items():
            if account is not None and name in path:
                path = path.replace(name, make(account))
        if self.name == "get_host":
            return path + "?port=8000"
        asks_for_path = self.method in {"GET", "DELETE"} and "/files" in path
        return path + ("?path=/workspace/f" if asks_for_path else "")


def all_routes() -> list[Route]:
    """In the order in which they are declared."""
    return [
        _route(f"/v1{prefix}{path}", operation, method)
        for prefix, router in api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    ]


def _route(path: str, operation: Operation, method: str) -> Route:
    (guard,) = operation.auth_callbacks
    assert isinstance(guard, Bearer), f"{method} {path} asks for no token"
    return Route(operation.view_func.__name__, method, path, str(guard.scope))
