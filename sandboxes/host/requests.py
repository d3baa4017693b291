"""What a command may ask for, and its frame to the agent."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from typing import Final

from sandboxes.host.agent.frames import REQUEST_LIMIT, text, texts
from sandboxes.host.files import check_path
from sandboxes.host.types import ExecRequest, HostError

#: Bytes of the longest single argument Linux takes, less the closing NUL.
ARGUMENT_LIMIT: Final = 128 * 1024 - 1
#: Variables of one command, the sandbox's own included.
VARIABLES_LIMIT: Final = 1000
#: A year; more is a mistake.
TIMEOUT_LIMIT: Final = 366 * 24 * 3600
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check(request: ExecRequest) -> None:
    """Refuses what no sandbox could run. Raises ``HostError`` invalid, too_large, name_too_long."""
    if not _ID.fullmatch(request.command_id):
        raise HostError("invalid", "A command's id is letters, digits, _ and -; use cmd_<ULID>.")
    if not 0 <= request.timeout_seconds <= TIMEOUT_LIMIT:
        raise HostError("invalid", "timeout_seconds is out of range; use a positive number.")
    if not request.timeout_seconds and not request.background:
        raise HostError("invalid", "timeout_seconds is 0; only a background command has none.")
    if not request.command.strip():
        raise HostError("invalid", "The command is empty; say what to run.")
    _check_argument(request.command, name="command")
    check_path(request.cwd)
    for name, value in request.env.items():
        if not name or "=" in name:
            raise HostError("invalid", "A variable's name is empty or holds '='; rename it.")
        _check_argument(f"{name}={value}", name="env")


def _check_argument(value: str, *, name: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise HostError("invalid", f"{name} holds half a character; send valid UTF-8.") from error
    if "\0" in value:
        raise HostError("invalid", f"{name} holds a NUL character; leave it out.")
    if size > ARGUMENT_LIMIT:
        raise HostError(
            "too_large",
            f"{name} is larger than 128 KiB; write it to a file in the sandbox and use that.",
            extra={"limit": ARGUMENT_LIMIT},
        )


def spawn_frame(request: ExecRequest, environment: Mapping[str, str], *, flags: int = 0) -> bytes:
    """The payload of SPAWN. ``environment`` is the sandbox's own; the request's goes over it."""
    variables = [f"{name}={value}" for name, value in {**environment, **request.env}.items()]
    milliseconds = math.ceil(request.timeout_seconds * 1000)
    head = struct.pack("<IQHH", flags, milliseconds, 24, 80)
    words = text(request.command_id) + text(request.cwd) + text(request.command)
    payload = head + words + texts(variables)
    if len(payload) > REQUEST_LIMIT or len(variables) > VARIABLES_LIMIT:
        raise HostError("too_large", "The command's env is too large; put it into a file.")
    return payload
