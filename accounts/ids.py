"""Ids that people and machines see: a prefix that names the kind, and a ULID that sorts by time."""

from __future__ import annotations

from datetime import datetime

from ulid import ULID


def new_id(prefix: str) -> str:
    """For example ``new_id("sbx")`` → ``sbx_01J…`` (30 characters with a three letter prefix)."""
    return f"{prefix}_{ULID()}"


def new_account_id() -> str:
    """A function of its own because a model's default must be importable by migrations."""
    return new_id("acc")


def new_token_id() -> str:
    """See ``new_account_id``."""
    return new_id("tok")


def new_device_id() -> str:
    """See ``new_account_id``."""
    return new_id("dev")


def first_id_at(prefix: str, moment: datetime) -> str:
    """The lowest id that can have been made at that moment or later."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return f"{prefix}_{ULID(milliseconds.to_bytes(6, 'big') + bytes(10))}"
