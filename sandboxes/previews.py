"""Ports of sandboxes opened to browsers: where a port is seen, and what a name leads to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.conf import settings

from accounts.asking import asker
from accounts.policy import TOKEN_ROLE, Principal, Scope, require
from sandboxes import limits
from sandboxes.errors import InvalidRequest, NotAvailable, PreviewGone, PreviewNotFound, WrongState
from sandboxes.models import ENDED, Sandbox
from sandboxes.preview_names import QUERY, preview_host_base, preview_token, scheme
from sandboxes.selectors import Target, sandbox_for
from sandboxes.services import why_not
from timeline.events import Actor

HIGHEST_PORT: Final = 65535
#: Where restricted sandboxes have their way out; it is not theirs to show.
PROXY_PORT: Final = 3128
_LABEL: Final = re.compile(r"([1-9][0-9]{0,4})-([0-9a-hjkmnp-tv-z]{26})")
#: Nobody known: what a visitor does is told as the platform's doing, with the address beside it.
VISITOR: Final = Actor("system", id="preview", name="preview")

_PREVIEW: Final = """
SELECT s.account_id, s.preview_auth, p.name, p.previews, s.id, s.status, s.reason, s.auto_resume
FROM sandboxes_sandbox s
JOIN accounts_account a ON a.id = s.account_id
JOIN accounts_plan p ON p.name = a.plan_id
WHERE s.id = %s
"""


@dataclass(frozen=True, slots=True)
class PreviewHost:
    """Where a port is seen. ``host`` has the port of the address in it where that is not the
    scheme's own."""

    port: int
    host: str
    url: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a name leads to."""

    port: int
    target: Target
    account_id: str
    asks_for_token: bool
    plan_name: str
    is_covered: bool

    @property
    def sandbox_id(self) -> str:
        return self.target.id

    @property
    def visitor(self) -> Principal:
        """For whom a sandbox with ``auto_resume`` is woken: nobody known, and for nothing else."""
        return Principal(
            account_id=self.account_id,
            actor=VISITOR,
            scopes=frozenset({Scope.SANDBOXES_WRITE}),
            role=TOKEN_ROLE,
        )

    def check(self) -> None:
        """Raises ``PreviewGone``, ``PlanLimit``."""
        if self.target.status in ENDED:
            raise PreviewGone(why_not(self.target.status, self.target.reason))
        limits.check_previews(is_covered=self.is_covered, plan_name=self.plan_name)


def preview_host(*, principal: Principal, sandbox_id: str, port: int) -> PreviewHost:
    """The name of a port, whether something listens there or not. Raises ``SandboxError``."""
    require(principal, Scope.SANDBOXES_READ)
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    if not 1 <= port <= HIGHEST_PORT or port == PROXY_PORT:
        raise InvalidRequest(
            f"port must be from 1 to {HIGHEST_PORT}, and not the way out's {PROXY_PORT}."
        )
    check_previews(sandbox)
    return name_of(sandbox, port)


def check_previews(sandbox: Sandbox) -> None:
    """Raise ``NotAvailable``, ``WrongState`` or ``PlanLimit`` unless its ports can be shown."""
    if not settings.ORKESTR_PREVIEW_BASE:
        raise NotAvailable("This installation has no previews; set ORKESTR_PREVIEW_BASE for them.")
    if sandbox.ended:
        raise WrongState(why_not(sandbox.status, sandbox.reason))
    plan = sandbox.account.plan
    limits.check_previews(is_covered=plan.previews, plan_name=plan.name)


def name_of(sandbox: Sandbox, port: int) -> PreviewHost:
    """Of a port that can be shown."""
    host = f"{port}-{preview_host_base(sandbox.id)}"
    return PreviewHost(port, host, f"{scheme()}://{host}")


def preview_link(sandbox: Sandbox, shown: PreviewHost) -> str:
    """An address that opens in a browser as it is."""
    if not sandbox.preview_auth:
        return shown.url
    return f"{shown.url}/?{urlencode({QUERY: preview_token(sandbox.id)})}"


async def preview_find(label: str) -> Preview:
    """What a name's first label leads to, in one query. Raises ``PreviewNotFound``."""
    parts = _LABEL.fullmatch(label)
    port = int(parts[1]) if parts else 0
    if parts is None or port > HIGHEST_PORT or port == PROXY_PORT:
        raise PreviewNotFound("There is no preview of this name; check the address.")
    row = await asker().row(_PREVIEW, [f"sbx_{parts[2].upper()}"])
    if row is None:
        raise PreviewNotFound("There is no preview of this name; check the address.")
    account_id, asks_for_token, plan_name, is_covered, *target = row
    return Preview(port, Target(*target), account_id, asks_for_token, plan_name, is_covered)
