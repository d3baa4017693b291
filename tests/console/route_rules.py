"""What each address of the console asks of a person, stated once, and read by tests of all routes.

A route that is not in ``RULES`` fails ``test_scope_matrix.py``: whoever adds one states its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver
from ulid import ULID

from accounts.policy import Scope
from sandboxes.models import MaskingPattern
from tests.cast import Cast
from tests.sandboxes.api.routes import MADE as MADE_FOR_API
from timeline.events import Kind, NewEvent
from timeline.services import events_append

READ: Final = Scope.SANDBOXES_READ
WRITE: Final = Scope.SANDBOXES_WRITE
#: Every person of the account.
MEMBER: Final = ""
#: Not of this table: the two HTTP interfaces, which have tables of their own, and Django's admin,
#: which asks for staff everywhere (``test_scope_matrix.py``).
ELSEWHERE: Final = ("v1/", "api/", "admin/")


@dataclass(frozen=True)
class Rule:
    """The scope that each method asks for; None where the method is not answered.

    ``is_public``: it needs no session. ``names_more``: what it names besides the sandbox (a
    command, a file) is not there in these tests, so 404 is the answer to who may ask, too.
    """

    get: str | None = None
    post: str | None = None
    is_public: bool = False
    names_more: bool = False
    form: Mapping[str, str] | None = None
    query: str = ""

    def scope(self, method: str) -> str | None:
        return self.get if method == "GET" else self.post

    @property
    def methods(self) -> list[str]:
        return [method for method in ("GET", "POST") if self.scope(method) is not None]


_SANDBOX: Final = "sandboxes/<str:sandbox_id>/"
_READ = Rule(get=READ)
_WRITE = Rule(post=WRITE)
_READ_POST = Rule(post=READ)
_NAMING = Rule(get=READ, names_more=True)

#: What nobody in the account has, so that an owner is answered 404.
_MEMBERS = Rule(post=Scope.MEMBERS_WRITE, names_more=True)
_HOOKS: Final = "settings/webhooks/"
_HOOK: Final = "settings/webhooks/<str:webhook_id>/"
_YOU: Final = "settings/you/"

RULES: Final[dict[str, Rule]] = {
    "healthz": Rule(get=MEMBER, is_public=True),
    "readyz": Rule(get=MEMBER, is_public=True),
    "metrics": Rule(get=MEMBER, is_public=True),
    "login/": Rule(get=MEMBER, post=MEMBER, is_public=True),
    "login/second/": Rule(get=MEMBER, post=MEMBER, is_public=True),
    "login/forgot/": Rule(get=MEMBER, post=MEMBER, is_public=True),
    "login/reset/<str:uidb64>/<str:token>/": Rule(
        get=MEMBER, post=MEMBER, is_public=True, names_more=True
    ),
    "login/passkey/": Rule(post=MEMBER, is_public=True),
    "login/passkey/options/": Rule(post=MEMBER, is_public=True),
    "join/<str:text>/": Rule(get=MEMBER, post=MEMBER, is_public=True),
    "logout/": Rule(post=MEMBER, is_public=True),
    "": _READ,
    "sandboxes/": _READ,
    "sandboxes/bulk/": _WRITE,
    "sandboxes/snapshots/": _READ,
    "sandboxes/snapshots/<str:snapshot_id>/delete/": _WRITE,
    "sandboxes/volumes/": Rule(get=READ, post=WRITE),
    "sandboxes/volumes/<str:volume_id>/lifetime/": Rule(post=WRITE, form={"unit": "days"}),
    "sandboxes/volumes/<str:volume_id>/delete/": _WRITE,
    "sandboxes/views/": _READ_POST,
    "sandboxes/views/<int:view_id>/rename/": Rule(
        post=READ, names_more=True, form={"name": "Mine"}
    ),
    "sandboxes/views/<int:view_id>/delete/": Rule(post=READ, names_more=True),
    "palette/": _READ,
    "sandboxes/new/": Rule(get=WRITE, post=WRITE, form={"template": "none"}),
    _SANDBOX: _READ,
    _SANDBOX + "rows/": _READ,
    _SANDBOX + "head/": _READ,
    _SANDBOX + "strip/": _READ,
    _SANDBOX + "usage/": _READ,
    _SANDBOX + "ports/": _READ,
    _SANDBOX + "budget/": Rule(post=WRITE, form={"budget_eur": "1"}),
    _SANDBOX + "commands/<str:command_id>/output/": _NAMING,
    _SANDBOX + "commands/<str:command_id>/rest/": _NAMING,
    _SANDBOX + "extend/": Rule(post=WRITE, form={"timeout_seconds": "60"}),
    _SANDBOX + "pause/": _WRITE,
    _SANDBOX + "resume/": _WRITE,
    _SANDBOX + "terminate/": _WRITE,
    _SANDBOX + "snapshot/": _WRITE,
    _SANDBOX + "hold/": _WRITE,
    _SANDBOX + "release/": _WRITE,
    _SANDBOX + "export/<str:form>/": _READ,
    _SANDBOX + "signals/": _READ,
    _SANDBOX + "signals/<int:signal_id>/dismiss/": Rule(post=WRITE, names_more=True),
    _SANDBOX + "notes/": Rule(get=READ, post=WRITE, form={"text": "a note"}),
    _SANDBOX + "notes/<int:seq>/remove/": Rule(post=WRITE, names_more=True),
    _SANDBOX + "notes/<int:seq>/restore/": Rule(post=WRITE, names_more=True),
    _SANDBOX + "events/<int:seq>/pin/": _WRITE,
    _SANDBOX + "events/<int:seq>/unpin/": _WRITE,
    _SANDBOX + "events/<int:seq>/diff/": _NAMING,
    _SANDBOX + "network/": _READ,
    _SANDBOX + "network/allow/": Rule(post=WRITE, form={"domain": "example.org"}),
    _SANDBOX + "metrics/": _READ,
    _SANDBOX + "metrics/chart/": _READ,
    _SANDBOX + "files/": _READ,
    _SANDBOX + "files/tree/": _READ,
    _SANDBOX + "files/edit/": Rule(get=WRITE, post=WRITE, query="?path=/workspace/f"),
    _SANDBOX + "files/new/": _WRITE,
    _SANDBOX + "files/rename/": _WRITE,
    _SANDBOX + "files/delete/": _WRITE,
    _SANDBOX + "files/upload/": _WRITE,
    _SANDBOX + "files/link/": Rule(post=WRITE, form={"path": "/workspace", "name": "f"}),
    _SANDBOX + "files/download/": Rule(get=READ, query="?path=/workspace/f"),
    _SANDBOX + "files/image/": Rule(get=READ, names_more=True, query="?path=/workspace/f"),
    _SANDBOX + "files/history/": Rule(get=READ, query="?path=/workspace/f"),
    _SANDBOX + "terminal/": _READ,
    _SANDBOX + "terminal/list/": _READ,
    _SANDBOX + "terminal/open/": _WRITE,
    _SANDBOX + "terminal/<str:terminal_id>/close/": _WRITE,
    _SANDBOX + "terminal/<str:terminal_id>/recording/": _NAMING,
    "compare/": _READ,
    "compare/outputs/": Rule(get=READ, names_more=True),
    "tokens/": Rule(get=Scope.TOKENS_READ, post=Scope.TOKENS_WRITE),
    # Of a token that somebody else minted; one's own takes less.
    "tokens/<str:token_id>/revoke/": Rule(post=Scope.TOKENS_ADMIN),
    "tokens/<str:token_id>/stop/": Rule(post=Scope.TOKENS_ADMIN),
    "tokens/<str:token_id>/": Rule(get=Scope.TOKENS_READ),
    "device/": Rule(get=Scope.TOKENS_WRITE, post=Scope.TOKENS_WRITE),
    "usage/": _READ,
    "usage/cap/": Rule(post=Scope.PLAN_WRITE, form={"monthly_eur": "50"}),
    "usage/by-<str:by>.csv": _READ,
    "audit/": Rule(get=Scope.AUDIT_READ),
    "audit/export/<str:form>/": Rule(get=Scope.AUDIT_READ),
    "settings/": Rule(get=MEMBER),
    "settings/account/": _READ,
    "settings/account/retention/": Rule(post=Scope.SETTINGS_WRITE, form={"days": "30"}),
    "settings/account/domains/": Rule(post=Scope.SETTINGS_WRITE, form={"of": "installation"}),
    "settings/masking/": Rule(get=READ, post=Scope.SETTINGS_WRITE),
    "settings/masking/try/": Rule(post=Scope.SETTINGS_WRITE),
    "settings/masking/<int:pattern_id>/remove/": Rule(post=Scope.SETTINGS_WRITE, names_more=True),
    _HOOKS: Rule(get=READ, post=WRITE),
    _HOOK: _READ,
    _HOOK + "enable/": _WRITE,
    _HOOK + "disable/": _WRITE,
    _HOOK + "rotate/": _WRITE,
    _HOOK + "delete/": _WRITE,
    _HOOK + "test/": _WRITE,
    _HOOK + "deliveries/<str:delivery_id>/": _NAMING,
    _HOOK + "deliveries/<str:delivery_id>/replay/": Rule(post=WRITE, names_more=True),
    "settings/members/": Rule(get=MEMBER, post=Scope.MEMBERS_WRITE),
    "settings/members/<int:user_id>/role/": _MEMBERS,
    "settings/members/<int:user_id>/remove/": _MEMBERS,
    "settings/invitations/<int:invitation_id>/withdraw/": _MEMBERS,
    _YOU: Rule(get=MEMBER),
    _YOU + "prove/": Rule(get=MEMBER, post=MEMBER),
    _YOU + "password/": Rule(post=MEMBER),
    _YOU + "authenticator/": Rule(get=MEMBER, post=MEMBER),
    _YOU + "authenticator/remove/": Rule(post=MEMBER),
    _YOU + "recovery-codes/": Rule(post=MEMBER),
    _YOU + "passkeys/": Rule(post=MEMBER),
    _YOU + "passkeys/options/": Rule(post=MEMBER),
    _YOU + "passkeys/<int:passkey_id>/remove/": Rule(post=MEMBER, names_more=True),
    _YOU + "sessions/end/": Rule(post=MEMBER),
    _YOU + "sessions/<str:mark>/end/": Rule(post=MEMBER, names_more=True),
    _YOU + "account/": Rule(post=MEMBER, names_more=True),
    "docs/": Rule(get=MEMBER),
    "docs/api/": Rule(get=MEMBER),
    "docs/handbook/<slug:name>/": Rule(get=MEMBER),
}


def routes() -> dict[str, URLPattern]:
    """Every address of the console itself by its pattern."""
    return {
        route: pattern
        for route, pattern in _walk(get_resolver(), "")
        if not route.startswith(ELSEWHERE)
    }


def _walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for each in resolver.url_patterns:
        here = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walk(each, here)
        else:
            yield here, each


def _sandbox(cast: Cast) -> str:
    sandbox_id = cast.ended_sandbox()
    data = {"path": "/workspace/main.py", "host": "example.org", "command": "make test"}
    events_append(sandbox_id=sandbox_id, events=[NewEvent(kind, data=data) for kind in Kind])
    return sandbox_id


#: Makes what a route names, for an account. What is not here is text that no row stands behind.
MADE: Final[dict[str, Callable[[Cast], Any]]] = {
    "sandbox_id": _sandbox,
    "pattern_id": lambda cast: (
        MaskingPattern.objects.create(
            account=cast.account, name=f"keys {ULID()}", expression="key-[0-9]+"
        ).id
    ),
    "webhook_id": MADE_FOR_API["{webhook_id}"],
    "snapshot_id": MADE_FOR_API["{snapshot_id}"],
    "volume_id": MADE_FOR_API["{volume_id}"],
    "token_id": lambda cast: cast.mint().token.id,
}
_NOBODY: Final = 999_999_999
NAMED: Final[dict[str, Any]] = {
    "command_id": "cmd_" + "0" * 26,
    "terminal_id": "term_" + "0" * 26,
    "signal_id": 1,
    "seq": 1,
    "user_id": _NOBODY,
    "invitation_id": _NOBODY,
    "passkey_id": _NOBODY,
    "view_id": _NOBODY,
    "delivery_id": "whd_" + "0" * 26,
    "mark": "0" * 16,
    "text": "x" * 43,
    "form": "jsonl",
    "by": "day",
    "uidb64": "MQ",
    "token": "x-" + "0" * 32,
    "name": "operating",
}
