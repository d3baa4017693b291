"""What may be asked for: templates, names, sizes of things, and what a plan covers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from accounts.models import Plan, Size
from sandboxes.errors import InvalidRequest, PlanLimit, SnapshotCap, UsageExhausted
from sandboxes.host.runtime import ISOLATIONS
from sandboxes.usage.selectors import Spent

TEMPLATES: Final = ("python-3.12", "python-3.12-bare", "node-22", "debian-12", "code-interpreter")
ALIASES: Final = {"ubuntu-24.04": "debian-12"}
NETWORKS: Final = ("off", "restricted", "open")
REGION: Final = "local"
REGION_LABEL: Final = "This machine"

TIMEOUT_MIN: Final = 10
TIMEOUT_MAX: Final = 3600
TIMEOUT_DEFAULT: Final = 600

ENV_MAX: Final = 256
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
ENV_BYTES: Final = 128 * 1024
METADATA_MAX: Final = 64
METADATA_KEY: Final = 128
METADATA_VALUE: Final = 1024
COMMAND_BYTES: Final = 100 * 1024
PATH_BYTES: Final = 4095
NAME_BYTES: Final = 255
NAME_LENGTH: Final = 100
BUDGET_MAX: Final = Decimal(1_000_000)
#: Where a client that has no field of its own for it says what a run may cost.
BUDGET_KEY: Final = "orkestr.budget_eur"


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """A new sandbox as asked for. ``size`` None: the smallest with that cpu and memory.

    With a ``snapshot`` that one says what template, size, network and isolation class are;
    ``isolation`` None leaves that to the plan, and where that leaves it, to the installation.
    ``volume`` is the name or the id of what is to be at ``/persist``.
    ``budget_eur`` is what the run may cost; None leaves that to the metadata's ``BUDGET_KEY``.
    ``allow_domains`` stands in place of the default allowlist of a restricted network, and means
    nothing for the others.
    """

    template: str
    size: str | None = None
    cpu: float | None = None
    memory_mb: int | None = None
    network: str = "off"
    isolation: str | None = None
    allow_domains: Sequence[str] | None = None
    timeout_seconds: int = TIMEOUT_DEFAULT
    on_timeout: str = "kill"
    auto_resume: bool = False
    preview_auth: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    snapshot: str | None = None
    volume: str | None = None
    budget_eur: Decimal | None = None


def checked(request: SandboxRequest) -> None:
    """Raise ``InvalidRequest`` or ``NotAvailable`` for what no plan could make possible."""
    template_name(request.template)
    check_env(request.env)
    check_metadata(request.metadata)
    budget_of(request)
    if not TIMEOUT_MIN <= request.timeout_seconds <= TIMEOUT_MAX:
        raise InvalidRequest(f"timeout_seconds must be between {TIMEOUT_MIN} and {TIMEOUT_MAX}.")
    if request.region not in (None, REGION):
        raise InvalidRequest(f"There is no such region here; leave it out or say {REGION!r}.")
    if request.network not in NETWORKS:
        raise InvalidRequest(f"network must be one of {', '.join(NETWORKS)}.")
    if request.isolation not in (None, *ISOLATIONS):
        raise InvalidRequest(f"isolation must be one of {', '.join(ISOLATIONS)}.")


def budget_of(request: SandboxRequest) -> Decimal | None:
    """What the run may cost, in EUR; None for as much as it likes. Raises ``InvalidRequest``."""
    if request.budget_eur is not None:
        return check_budget(request.budget_eur)
    text = request.metadata.get(BUDGET_KEY)
    if text is None:
        return None
    try:
        return check_budget(Decimal(text.strip()))
    except InvalidOperation:
        raise InvalidRequest(
            f"{BUDGET_KEY} in metadata must be a number of euros, such as 0.50."
        ) from None


def check_budget(eur: Decimal) -> Decimal:
    """``eur`` to a hundredth of a cent. Raises ``InvalidRequest``."""
    if not eur.is_finite() or not Decimal("0.0001") <= eur <= BUDGET_MAX:
        raise InvalidRequest(f"A budget is between 0.0001 and {BUDGET_MAX} EUR.")
    return round(eur, 4)


def isolation_for(request: SandboxRequest, *, plan: Plan, default: str) -> str:
    """The class of isolation to make it in. Raises ``PlanLimit``."""
    if plan.isolation and request.isolation not in (None, plan.isolation):
        raise PlanLimit(
            f"Sandboxes of the {plan.name} plan are isolated by {plan.isolation}; leave isolation "
            "out, or change the plan.",
            reason="isolation",
        )
    return plan.isolation or request.isolation or default


def template_name(asked: str) -> str:
    """The name that the host knows the template by. Raises ``InvalidRequest``."""
    name = ALIASES.get(asked, asked)
    if name not in TEMPLATES:
        shown = asked[:64].replace("\x00", "")
        raise InvalidRequest(f"There is no template {shown!r}; use one of {', '.join(TEMPLATES)}.")
    return name


def check_env(env: Mapping[str, str]) -> None:
    """Names a shell can use, values a process can be given. Raises ``InvalidRequest``."""
    if len(env) > ENV_MAX:
        raise InvalidRequest(f"env holds more than {ENV_MAX} names; put the rest into a file.")
    for name, value in env.items():
        if not ENV_NAME.fullmatch(name):
            raise InvalidRequest(
                "A name in env must be letters, digits and underscores, at most 256 of them, "
                "and must not start with a digit."
            )
        if "\x00" in value:
            raise InvalidRequest(f"The value of {name} in env holds a NUL character; remove it.")
    if sum(len(name) + len(value.encode()) + 2 for name, value in env.items()) > ENV_BYTES:
        raise InvalidRequest("env is over 128 KiB; put large values into a file.")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Labels to find a sandbox by, not a place to keep data. Raises ``InvalidRequest``."""
    if len(metadata) > METADATA_MAX:
        raise InvalidRequest(f"metadata may hold at most {METADATA_MAX} keys.")
    for key, value in metadata.items():
        if not key or len(key) > METADATA_KEY or len(value) > METADATA_VALUE:
            raise InvalidRequest(
                f"A metadata key has 1 to {METADATA_KEY} characters, "
                f"its value at most {METADATA_VALUE}."
            )
        if "\x00" in key or "\x00" in value:
            raise InvalidRequest("metadata holds a NUL character; remove it.")


def check_metadata_sought(wanted: dict[str, str]) -> dict[str, str]:
    """``wanted``, if a sandbox can have it. Raises ``InvalidRequest``."""
    if len(wanted) > METADATA_MAX or any("\x00" in key + value for key, value in wanted.items()):
        raise InvalidRequest("The metadata to look for cannot be that of any sandbox.")
    return wanted


def check_command(command: str, *, env: Mapping[str, str]) -> None:
    """A shell takes its command as one argument, and Linux caps that. Raises ``InvalidRequest``."""
    check_env(env)
    if not command.strip():
        raise InvalidRequest("command is empty; say what to run.")
    if "\x00" in command:
        raise InvalidRequest("command holds a NUL character; write the data to a file instead.")
    if len(command.encode()) > COMMAND_BYTES:
        raise InvalidRequest(
            "command is over 100 KiB; write it to a file in /workspace and run that."
        )


def check_path(path: str, *, name: str = "path") -> None:
    """What the host need not be asked about. Raises ``InvalidRequest``."""
    if not path.startswith("/"):
        raise InvalidRequest(f"{name} must be absolute; begin it with a slash.")
    if "\x00" in path:
        raise InvalidRequest(f"{name} holds a NUL character; remove it.")
    parts = path.encode().split(b"/")
    if sum(map(len, parts)) + len(parts) > PATH_BYTES or max(map(len, parts)) > NAME_BYTES:
        raise InvalidRequest(
            f"{name} is too long: at most {PATH_BYTES} bytes, and {NAME_BYTES} for each name in it."
        )


def size_for(request: SandboxRequest, *, menu: list[Size], plan: Plan, allowed: set[str]) -> Size:
    """The size to make. Raises ``InvalidRequest`` and ``PlanLimit``. ``menu`` is smallest first."""
    size = _named(request, menu) if request.size is not None else _fitting(request, menu)
    if size.name not in allowed:
        covered = ", ".join(one.name for one in menu if one.name in allowed)
        raise PlanLimit(
            f"The {plan.name} plan covers the sizes {covered}; ask for one of these, or change "
            "the plan.",
            reason="size",
        )
    return size


def _named(request: SandboxRequest, menu: list[Size]) -> Size:
    for size in menu:
        if size.name == request.size:
            return size
    raise InvalidRequest(f"size must be one of {', '.join(size.name for size in menu)}.")


def _fitting(request: SandboxRequest, menu: list[Size]) -> Size:
    cpu, memory_mb = request.cpu or 0, request.memory_mb or 0
    for size in menu:
        if size.cpu >= cpu and size.memory_mb >= memory_mb:
            return size
    largest = menu[-1]
    raise PlanLimit(
        f"No size has that much cpu and memory; the largest is {largest.name} with "
        f"{largest.cpu.normalize():f} CPUs and {largest.memory_mb / 1024:g} GB.",
        reason="size",
    )


def check_plan(request: SandboxRequest, *, plan: Plan, live: int) -> None:
    """Raise ``PlanLimit`` for what ``plan`` does not cover, with ``live`` sandboxes there."""
    if request.network not in plan.networks:
        raise PlanLimit(
            f"The {plan.name} plan does not cover network {request.network!r}; take one of "
            f"{', '.join(plan.networks)}, or change the plan.",
            reason="network",
        )
    if own_domains(request) is not None and not plan.custom_egress_allowlist:
        raise PlanLimit(
            f"The {plan.name} plan does not cover allow_domains; leave it out for the default "
            "allowlist, or change the plan.",
            reason="allow_domains",
        )
    check_timeout(request.timeout_seconds, plan=plan)
    if live >= plan.max_concurrent:
        raise concurrency_cap(plan)


def concurrency_cap(plan: Plan) -> PlanLimit:
    """As many run as may."""
    return PlanLimit(
        f"The {plan.name} plan runs at most {plan.max_concurrent} sandboxes at once; "
        "pause or terminate one, or change the plan.",
        reason="concurrency",
    )


def snapshot_cap(plan: Plan) -> SnapshotCap:
    """As many are paused as may be."""
    return SnapshotCap(
        f"The {plan.name} plan keeps at most {plan.max_snapshots} paused sandboxes; resume or "
        "terminate one, or change the plan."
    )


def check_previews(*, is_covered: bool, plan_name: str) -> None:
    """Raise ``PlanLimit`` unless ports may be opened to browsers."""
    if not is_covered:
        raise PlanLimit(
            f"The {plan_name} plan does not cover previews of ports; change the plan.",
            reason="preview",
        )


def own_domains(request: SandboxRequest) -> Sequence[str] | None:
    """The allowlist asked for, if the network is one that has any."""
    return request.allow_domains if request.network == "restricted" else None


def check_named_snapshots(*, plan: Plan, kept: int) -> None:
    """Raise ``SnapshotCap`` unless one more named snapshot may be kept beside ``kept`` others."""
    if kept >= plan.max_named_snapshots:
        raise SnapshotCap(
            f"The {plan.name} plan keeps at most {plan.max_named_snapshots} named snapshots; "
            "delete one, or change the plan."
        )


def check_name(name: str) -> None:
    """Raise ``InvalidRequest`` for what is too long to be a name."""
    if len(name) > NAME_LENGTH or "\x00" in name:
        raise InvalidRequest(f"name may have at most {NAME_LENGTH} characters, and no NUL.")


def check_credit(*, plan: Plan, spent: Spent) -> None:
    """Raise ``UsageExhausted`` when nothing more may run for what the account has spent."""
    if plan.stops_at_credit and spent.eur >= plan.trial_credit_eur:
        raise UsageExhausted(credit_used_up(plan), reason="trial_exhausted")
    if spent.cap_eur is not None and spent.month_eur >= spent.cap_eur:
        raise UsageExhausted(cap_reached(spent.cap_eur), reason="monthly_cap_reached")


def credit_used_up(plan: Plan) -> str:
    """The sentence for it."""
    return (
        f"The {plan.name} plan's credit of {plan.trial_credit_eur:.2f} EUR is used up; "
        "change the plan to go on."
    )


def cap_reached(cap_eur: Decimal) -> str:
    """The sentence for it."""
    return (
        f"The account has spent its cap of {cap_eur:.2f} EUR for this month; an owner can raise it "
        "on the Usage page."
    )


def check_run_budget(*, budget_eur: Decimal | None, spent_eur: Decimal) -> None:
    """Raise ``UsageExhausted`` when a run has cost what it may."""
    if budget_eur is not None and spent_eur >= budget_eur:
        raise UsageExhausted(budget_reached(budget_eur), reason="budget_reached")


def budget_reached(budget_eur: Decimal) -> str:
    """The sentence for it."""
    return (
        f"This run has cost its budget of {budget_eur.normalize():f} EUR; raise it in the console "
        "to go on."
    )


def check_timeout(seconds: int, *, plan: Plan) -> None:
    """Raise ``InvalidRequest`` for a lifetime longer than the plan's."""
    if seconds > plan.max_timeout_seconds:
        raise InvalidRequest(
            f"The {plan.name} plan allows timeout_seconds up to {plan.max_timeout_seconds}."
        )


def capped_expiry(
    *, now: datetime, started_at: datetime, seconds: int, lifetime_seconds: int | None
) -> datetime:
    """When a clock restarted now runs out, within the plan's longest run. Raises ``PlanLimit``."""
    asked = now + timedelta(seconds=seconds)
    if lifetime_seconds is None:
        return asked
    ceiling = started_at + timedelta(seconds=lifetime_seconds)
    if ceiling <= now:
        raise PlanLimit(
            "This sandbox has run as long as the plan allows in one go; start a new one.",
            reason="lifetime_cap_reached",
        )
    return min(asked, ceiling)
