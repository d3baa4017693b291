"""A command's whole output for people to read afterwards: from its file, masked as its events are.

The file has the bytes as the command wrote them. What leaves here has no secret in it, wherever a
reader begins: a piece starts and ends between secrets, and one that a reader began inside of is
shown as masked.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from sandboxes.host.masking import Masker, Scan, secrets_of
from sandboxes.host.output import unfinished_character
from sandboxes.host.patterns import patterns_of
from sandboxes.host.types import Box, HostError

PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Masked bytes, the offset in the file that they end at, and how long that is by now."""

    data: bytes
    next: int
    size: int


def keep_secrets(directory: Path, command_id: str, env: Mapping[str, str]) -> None:
    """What to look for in a command's output, beside it, for as long as that is there.

    Nothing is written for a command without variables of its own. Raises ``OSError``.
    """
    secrets = secrets_of(env)
    if not secrets:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(_secrets_path(directory, command_id), flags, 0o600)
    try:
        os.write(descriptor, orjson.dumps([base64.b64encode(one).decode() for one in secrets]))
    finally:
        os.close(descriptor)


def read_masked(box: Box, command_id: str, *, offset: int, limit: int = PIECE) -> Piece:
    """Output from ``offset`` on; nothing at its end. Raises ``HostError`` (no_such_command)."""
    directory = box.directory / "commands"
    try:
        descriptor = os.open(directory / f"{command_id}.out", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise HostError("no_such_command", "Nothing is kept of such a command.") from error
    secrets = secrets_of(box.own_env) | _secrets(directory, command_id)
    masker = Masker(secrets, patterns_of(tuple(box.masking)))
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, offset - masker.longest)
        limit = max(limit, 2 * masker.longest + 8)  # holds a secret and what may begin another
        raw = os.pread(descriptor, offset - start + limit, start) if offset < size else b""
    finally:
        os.close(descriptor)
    at_end = start + len(raw) >= size
    return _masked(masker, raw, start, offset, at_end=at_end, size=size)


def _masked(
    masker: Masker, raw: bytes, start: int, offset: int, *, at_end: bool, size: int
) -> Piece:
    first = offset - start
    if first >= len(raw):
        return Piece(b"", offset, size)
    scan = Scan()
    end = masker.look(raw, scan, at_end=at_end)
    if not at_end:
        end = _between_secrets(scan, first, min(end, unfinished_character(raw)))
    scan.spans = [(max(first, begin), until) for begin, until in scan.spans if until > first]
    scan.hidden = first
    return Piece(masker.shown(raw[:end], scan), start + end, size)


def _between_secrets(scan: Scan, first: int, end: int) -> int:
    """Not inside of a secret, unless all from ``first`` on is one."""
    sooner = end
    for begin, until in reversed(scan.spans):
        if begin < sooner < until:
            sooner = begin
    return sooner if sooner > first else end


def _secrets(directory: Path, command_id: str) -> frozenset[bytes]:
    with suppress(OSError, ValueError):
        kept = orjson.loads(_secrets_path(directory, command_id).read_bytes())
        return frozenset(base64.b64decode(one) for one in kept)
    return frozenset()


def _secrets_path(directory: Path, command_id: str) -> Path:
    return directory / f"{command_id}.secrets"
