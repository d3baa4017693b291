"""Cells of code and their contexts: what is asked of the host about them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from django.conf import settings

from accounts.ids import new_id
from sandboxes import limits
from sandboxes.errors import InvalidRequest
from sandboxes.host.code.types import CODE_LIMIT, DEFAULT_CONTEXT, CodeRequest
from sandboxes.host.code_client import CodeClient

LANGUAGE: Final = "python"


@lru_cache
def code_client() -> CodeClient:
    """The host of this installation."""
    return CodeClient(settings.ORKESTR_HOST_SOCKET)


def code_request(
    *, code: str, language: str, context_id: str | None, timeout_seconds: float
) -> CodeRequest:
    """A cell with an id of its own. Raises ``InvalidRequest``."""
    if language != LANGUAGE:
        raise InvalidRequest("The interpreter speaks python only; run others as a command.")
    if not code.strip():
        raise InvalidRequest("code is empty; say what to run.")
    if len(code.encode()) > CODE_LIMIT:
        raise InvalidRequest("code is over 1 MiB; write it to a file and run that.")
    return CodeRequest(
        cell_id=new_id("cell"),
        code=code,
        context_id=context_named(context_id or DEFAULT_CONTEXT),
        timeout_seconds=timeout_seconds,
    )


def context_named(context_id: str) -> str:
    """Whatever a caller says, as text that the host takes; no id looks like what is replaced."""
    return context_id[:80].replace("\0", "?").encode("utf-8", "replace").decode()


def context_home(cwd: str) -> str:
    """Where a context begins. Raises ``InvalidRequest``."""
    limits.check_path(cwd, name="cwd")
    return cwd


def new_context_id() -> str:
    return new_id("ctx")
