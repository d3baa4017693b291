"""One sandbox as the host keeps it, in memory and in ``sandboxes/<id>/state.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from sandboxes.host.agent.ties import Ties
from sandboxes.host.egress.policy import Policy, Rule
from sandboxes.host.networks import MODES
from sandboxes.host.patterns import InvalidPattern, patterns_of
from sandboxes.host.paused import Paused
from sandboxes.host.places import Slot
from sandboxes.host.runtime import ISOLATIONS
from sandboxes.host.snapshots import Captured
from sandboxes.host.types import CreateSpec, HostError
from timeline.events import Actor, Kind, NewEvent
from timeline.journal import Journal

Status = Literal["running", "paused", "ended"]

_ID = re.compile(r"sbx_[0-9A-HJKMNP-TV-Z]{26}")
_SNAPSHOT_ID = re.compile(r"snap_[0-9A-HJKMNP-TV-Z]{26}")
_VOLUME_ID = re.compile(r"vol_[0-9A-HJKMNP-TV-Z]{26}")
_MAX_SECONDS = 86400 * 30
_BASE_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "TERM": "xterm-256color",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a sandbox is terminated (requested, expired, paused_expired…) and who wanted it."""

    reason: str
    actor: Actor

    def event(self) -> NewEvent:
        return NewEvent(Kind.SANDBOX_TERMINATED, {"reason": self.reason}, actor=self.actor)


@dataclass(frozen=True, slots=True)
class State:
    """What outlives this process.

    ``slot`` is the name of the container that runs it. ``ending`` says why and for whom it is
    being terminated, from the moment that is decided; ``paused`` the same of a pause.
    """

    spec: CreateSpec
    env: Mapping[str, str]
    slot: str
    status: Status
    ending: Ending | None = None
    paused: Paused | None = None

    def save(self, directory: Path) -> None:
        """Written whole: a killed host leaves the old state or the new one."""
        path = directory / "state.json"
        scratch = path.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(asdict(self)))
        scratch.rename(path)

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """None when there is none that can be read: its sandbox was never answered for."""
        try:
            row = json.loads((directory / "state.json").read_text())
            ending = row["ending"] and Ending(
                row["ending"]["reason"], Actor.from_json(row["ending"]["actor"])
            )
            spec, paused = CreateSpec(**row["spec"]), Paused.from_json(row.get("paused"))
            return cls(spec, row["env"], row["slot"], row["status"], ending, paused)
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(slots=True, eq=False)
class Box:
    """One running sandbox, for its commands and files; see ``sandboxes.host.types.Box``.

    Only ``allow`` changes its specification.
    """

    spec: CreateSpec
    directory: Path
    env: Mapping[str, str]
    journal: Journal
    slot: Slot
    ties: Ties = field(default_factory=Ties)

    @classmethod
    def open(cls, spec: CreateSpec, directory: Path, env: Mapping[str, str], slot: Slot) -> Box:
        """A new sandbox's, with its folder made. Raises ``OSError``."""
        directory.mkdir(mode=0o700)
        return cls(spec, directory, env, Journal(directory, spec.sandbox_id), slot)

    @property
    def sandbox_id(self) -> str:
        return self.spec.sandbox_id

    @property
    def own_env(self) -> Mapping[str, str]:
        return self.spec.env

    @property
    def masking(self) -> Sequence[str]:
        return self.spec.masking

    @property
    def agent_socket(self) -> Path:
        return self.slot.agent_socket

    @property
    def pids(self) -> int:
        return self.spec.pids

    @property
    def memory_mb(self) -> int:
        return self.spec.memory_mb

    def allow(self, rule: Rule) -> bool:
        """Add to what its restricted network may reach; False when that is there already."""
        policy = Policy.from_json(self.spec.rules)
        if rule in policy.rules:
            return False
        self.spec = replace(self.spec, rules=Policy((*policy.rules, rule)).to_json())
        return True

    def save(
        self, status: Status, *, ending: Ending | None = None, paused: Paused | None = None
    ) -> None:
        """Note on disk how it stands."""
        State(self.spec, self.env, self.slot.name, status, ending, paused).save(self.directory)


def environment(*parts: Mapping[str, str]) -> dict[str, str]:
    """What commands see: the base, and over it each part (template, network, caller) in turn."""
    return {name: value for part in (_BASE_ENV, *parts) for name, value in part.items()}


def parse_spec(row: object) -> CreateSpec:
    """Trust nothing that came over the socket. Raises ``HostError`` (invalid)."""
    if not isinstance(row, dict):
        raise _invalid("a specification")
    try:
        spec = CreateSpec(**row)
    except TypeError as error:
        raise _invalid("the fields of a specification") from error
    for each in fields(CreateSpec):
        _check_type(each.name, str(each.type), getattr(spec, each.name))
    if not _ID.fullmatch(spec.sandbox_id):
        raise _invalid("a sandbox id")
    if spec.network not in MODES:
        raise HostError("invalid", f"A network is one of {', '.join(MODES)}.")
    if spec.isolation not in ISOLATIONS:
        raise HostError("invalid", f"An isolation class is one of {', '.join(ISOLATIONS)}.")
    if spec.snapshot:
        check_snapshot_id(spec.snapshot)
    if spec.volume:
        check_volume_id(spec.volume)
    _check_rules(spec)
    _check_masking(spec)
    for name, low, high in _RANGES:
        if not low <= getattr(spec, name) <= high:
            raise _invalid(f"{name} from {low} to {high}")
    return spec


_RANGES = (
    ("cpu", 0.01, 1024),
    ("memory_mb", 16, 1 << 22),
    ("disk_mb", 16, 1 << 22),
    ("pids", 4, 1 << 20),
    ("timeout_seconds", 1, _MAX_SECONDS),
)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "Mapping[str, str]": (dict,),
    "Sequence[Mapping[str, Any]]": (list, tuple),
    "Sequence[str]": (list, tuple),
}


def _check_type(name: str, wanted: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, _TYPES[wanted]):
        raise _invalid(name)
    texts = [*value, *value.values()] if isinstance(value, dict) else []
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise _invalid(f"text in {name}")


def _check_rules(spec: CreateSpec) -> None:
    try:
        Policy.from_json(spec.rules)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _invalid("rules of an allowlist") from error


def _check_masking(spec: CreateSpec) -> None:
    try:
        patterns_of(tuple(spec.masking))
    except (InvalidPattern, TypeError) as error:
        raise _invalid("expressions of what is to be masked") from error


def check_id(value: object) -> str:
    """A sandbox's id, safe as a folder's name. Raises ``HostError`` (not_found)."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise HostError("not_found", "There is no such sandbox on this host.")


def check_snapshot_id(value: str) -> str:
    """A snapshot's id, safe as a folder's name. Raises ``HostError`` (snapshot_gone)."""
    if _SNAPSHOT_ID.fullmatch(value):
        return value
    raise HostError("snapshot_gone", "There is no such snapshot on this host.")


def check_volume_id(value: str) -> str:
    """A volume's id, safe as a file's name. Raises ``HostError`` (volume_gone)."""
    if _VOLUME_ID.fullmatch(value):
        return value
    raise HostError("volume_gone", "There is no such volume on this host.")


def _invalid(what: str) -> HostError:
    return HostError("invalid", f"The host needs {what} here; send it as the client does.")


def created_event(spec: CreateSpec, *, actor: Actor, at: int) -> NewEvent:
    data = {
        "template": spec.template,
        "size": spec.size,
        "cpu": spec.cpu,
        "memory_mb": spec.memory_mb,
        "disk_mb": spec.disk_mb,
        "network": spec.network,
        "isolation": spec.isolation,
        "timeout_seconds": spec.timeout_seconds,
        "on_timeout": spec.on_timeout,
        "env_names": sorted(spec.env),
        "metadata": dict(spec.metadata),
        "expires_at": spec.expires_at,
    }
    if spec.snapshot:
        data["snapshot"] = spec.snapshot
    if spec.volume:
        data["volume"] = spec.volume_name
    return NewEvent(Kind.SANDBOX_CREATED, data, actor=actor, at=at)


def running_event(boot_ms: int, *, lost: str | None) -> NewEvent:
    """``lost`` is for a fork of a snapshot with memory: why without processes, or empty."""
    data: dict[str, object] = {"boot_ms": boot_ms}
    if lost is not None:
        data["includes_memory"] = not lost
    if lost:
        data["why_not"] = lost
    return NewEvent(Kind.SANDBOX_RUNNING, data)


def snapshot_event(snapshot_id: str, name: str, actor: Actor, captured: Captured) -> NewEvent:
    data = {
        "snapshot_id": snapshot_id,
        "name": name,
        "size_mb": captured.size_mb,
        "includes_memory": captured.memory,
    }
    if captured.without:
        data["why_not"] = captured.without
        data["nothing_ran"] = captured.nothing_ran
    return NewEvent(Kind.SNAPSHOT_CREATED, data, actor=actor)


def failed_event(*, reason: str, detail: str) -> NewEvent:
    return NewEvent(Kind.SANDBOX_FAILED, {"reason": reason, "detail": detail})


def ended_in(journal: Journal) -> bool:
    """Whether its last event has been written already."""
    last = None
    for event in journal.scan():
        last = event.kind
    return last in {Kind.SANDBOX_TERMINATED, Kind.SANDBOX_FAILED}
