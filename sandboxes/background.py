"""Commands that nobody waits for: what is asked of the host about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from django.conf import settings

from sandboxes.host.background_client import BackgroundClient
from sandboxes.host.types import ExecRequest
from sandboxes.services import exec_request


@lru_cache
def background_client() -> BackgroundClient:
    """The host of this installation."""
    return BackgroundClient(settings.ORKESTR_HOST_SOCKET)


def background_request(*, command: str, cwd: str, env: Mapping[str, str]) -> ExecRequest:
    """A command with an id of its own and no time limit. Raises ``InvalidRequest``."""
    wanted = exec_request(command=command, cwd=cwd, env=env, timeout_seconds=0)
    return replace(wanted, background=True)
