"""The proxy's records as events of the timeline. It is not trusted: every field is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timeline.events import Actor, Kind, NewEvent

POLICY = Actor("policy", name="egress")
_TEXT_LIMIT = 400
_NUMBER_LIMIT = 1 << 53


def event(record: Mapping[str, Any]) -> NewEvent | None:
    """The event that a ``closed`` or ``denied`` record stands for; other records are none.

    network.allowed has scheme, host, port, address, verdict, reason (how it ended), bytes_up,
    bytes_down, duration_ms. network.denied has host, port, verdict, reason and detail (a sentence),
    and where adding a domain would help, ``allow``. ``record`` is told once in all. With
    ``left_out`` it stands for that many that came in quick succession, and numbers are their sums.
    """
    match record.get("op"):
        case "closed":
            return NewEvent(str(Kind.NETWORK_ALLOWED), _allowed(record))
        case "denied":
            return NewEvent(str(Kind.NETWORK_DENIED), _denied(record), POLICY)
    return None


def _allowed(record: Mapping[str, Any]) -> dict[str, Any]:
    numbers = ("bytes_up", "bytes_down", "duration_ms")
    data = {
        **_who(record),
        "verdict": "allowed",
        "reason": _text(record, "reason"),
        **{key: _number(record, key) for key in numbers},
    }
    if left_out := _number(record, "left_out"):
        data["left_out"] = left_out
    return data


def _denied(record: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        **_who(record),
        "verdict": "denied",
        "reason": _text(record, "reason"),
        "detail": _text(record, "detail"),
    }
    if allow := _text(record, "allow"):
        data["allow"] = allow
    if left_out := _number(record, "left_out"):
        data["left_out"] = left_out
    return data


def _who(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "record": f"{_text(record, 'run')}-{_number(record, 'record')}",
        "scheme": _text(record, "scheme"),
        "host": _text(record, "host"),
        "port": _number(record, "port"),
        "address": _text(record, "address"),
    }


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key, "")
    return value[:_TEXT_LIMIT].replace("\0", "␀") if isinstance(value, str) else ""


def _number(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key, 0)
    return value if type(value) is int and 0 <= value < _NUMBER_LIMIT else 0
