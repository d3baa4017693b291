"""What the console's templates need beyond Django's own tags."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.http import HttpRequest
from django.template.context import Context
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.policy import Principal, allows
from console.forms import EXTENSIONS
from console.money import euros
from console.tabs import SETTINGS, TABS, Tab
from sandboxes.host.terminals.types import TerminalInfo
from sandboxes.models import Sandbox
from sandboxes.signals.selectors import signals_of
from sandboxes.snapshots import snapshots_of
from timeline.inert import inert
from timeline.templatetags.timeline_rows import megabytes

register = template.Library()
register.filter("memory", megabytes)
_SNAPSHOTS = 8  # beside a timeline; the page of snapshots has all
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d:\d\d")


@register.filter
def ticked(text: str) -> SafeString:
    """What stands between backticks as code, and everything escaped."""
    parts = str(text).split("`")
    shown = (
        format_html("<code>{}</code>" if at % 2 else "{}", part) for at, part in enumerate(parts)
    )
    return SafeString("".join(shown))


@register.simple_tag
def now_ms() -> int:
    """The server's clock in milliseconds, by which the page's clocks run."""
    return time.time_ns() // 1_000_000


@register.simple_tag(takes_context=True)
def nav_link(context: Context, name: str, label: str) -> SafeString:
    """A link of the main navigation, marked when the page lies below it."""
    href = reverse(name)
    path = context["request"].path
    here = path == href if href == "/" else path.startswith(href)
    mark = SafeString(' aria-current="page"') if here else ""
    return format_html('<a href="{}" data-page="{}"{}>{}</a>', href, name, mark, label)


@register.inclusion_tag("console/parts/tabs.html", takes_context=True)
def sandbox_tabs(context: Context, sandbox_id: str) -> dict[str, Any]:
    """The strip that leads from one page of a sandbox to the others."""
    return _tabs(context, TABS, sandbox_id) | {"kind": "box-tabs", "label": "Sandbox"}


@register.inclusion_tag("console/parts/tabs.html", takes_context=True)
def settings_tabs(context: Context) -> dict[str, Any]:
    """What leads from one part of the settings to the others."""
    return _tabs(context, SETTINGS) | {"kind": "settings-tabs", "label": "Settings"}


def _tabs(context: Context, tabs: Iterable[Tab], *args: str) -> dict[str, Any]:
    """Each with its address, and whether it is the page that is open or one below it."""
    path = context["request"].path
    links = [(tab, reverse(tab.name, args=args)) for tab in tabs]
    here = max((href for _, href in links if path.startswith(href)), key=len, default="")
    return {"tabs": [(tab, href, href == here) for tab, href in links]}


@register.inclusion_tag("console/parts/signals.html", takes_context=True)
def sandbox_signals(context: Context, sandbox: Sandbox) -> dict[str, Any]:
    """What says that a run may be stuck."""
    found = signals_of(sandbox_id=sandbox.id)
    return {"sandbox": sandbox, "signals": found, "request": context["request"]}


@register.inclusion_tag("console/parts/snapshots_of.html", takes_context=True)
def sandbox_snapshots(context: Context, sandbox: Sandbox) -> dict[str, Any]:
    """The newest snapshots that were taken of a sandbox."""
    found = snapshots_of(sandbox.account_id).filter(source_id=sandbox.id)[:_SNAPSHOTS]
    return {"snapshots": found, "request": context["request"]}


@register.simple_tag
def extensions() -> list[tuple[int, str]]:
    """For how long a sandbox can be extended: seconds and words."""
    return list(EXTENSIONS.items())


@register.filter
def can(principal: Principal | None, scope: str) -> bool:
    """Whether to offer what needs ``scope``. The server asks again when it is done."""
    return isinstance(principal, Principal) and allows(principal, scope)


@register.filter
def closed_terminals(rows: list[tuple[int, TerminalInfo]]) -> list[tuple[int, TerminalInfo]]:
    """The recordings among numbered terminals, newest first."""
    return [(number, row) for number, row in rows if not row.is_open][::-1]


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """``<time>`` that a script keeps saying as "4 min ago"."""
    if moment is None:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    return format_html(
        '<time datetime="{}" data-ago>{}</time>', moment.isoformat(), _ago(seconds, moment)
    )


@register.filter
def exact(moment: datetime) -> SafeString:
    """``<time>`` that a script writes in the reader's zone; in UTC until then."""
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-exact>{}</time>', utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    )


@register.filter
def in_zone(text: str) -> SafeString | str:
    """A moment in ISO 8601 in the reader's zone; any other text as it is."""
    if not _MOMENT.fullmatch(text):
        return text
    try:
        return exact(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return text


@register.filter
def unix_ago(seconds: float) -> SafeString | str:
    """The same for Unix seconds, which may be any number: a file says when it was changed."""
    return ago(datetime.fromtimestamp(min(max(seconds, 0.0), 4e9), tz=UTC))


def _ago(seconds: float, moment: datetime) -> str:
    if seconds < 10:
        return "just now"
    for unit, length, limit in (("s", 1, 60), ("min", 60, 60), ("h", 3600, 24), ("d", 86_400, 30)):
        if seconds < length * limit:
            return f"{int(seconds // length)} {unit} ago"
    return f"{moment.day} {moment:%b %Y}"


@register.filter
def countdown(moment: datetime) -> SafeString:
    """``<time>`` that a script counts down: 9:42 or 1:04:22, never below zero."""
    left = max(0, math.ceil((moment - timezone.now()).total_seconds()))
    minutes, seconds = divmod(left, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return format_html(
        '<time datetime="{}" data-countdown{}>{}</time>',
        moment.isoformat(),
        SafeString(" data-soon") if left < 60 else "",
        text,
    )


register.filter("eur", euros)


@register.filter
def until(moment: datetime, now: datetime) -> str:
    """How far off that is: 40 min, 5 hours, 12 days."""
    minutes = max(0, int((moment - now).total_seconds() // 60))
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} hours" if hours < 72 else f"{hours // 24} days"


@register.filter
def pairs(metadata: Mapping[str, str]) -> list[str]:
    """``name=value`` of each, as one harmless line: whoever made a sandbox chose them."""
    return [inert(f"{name}={value}") for name, value in metadata.items()]


@register.filter
def short_id(identifier: str) -> str:
    """The end of an id, which is what tells one from another: ``sbx_…9K2M7Q4T``."""
    prefix, _, rest = identifier.partition("_")
    return f"{prefix}_…{rest[-8:]}" if len(rest) > 10 else identifier


@register.simple_tag(takes_context=True)
def base_url(context: Context) -> str:
    """The address under which the reader sees this console."""
    request: HttpRequest = context["request"]
    return f"{request.scheme}://{request.get_host()}"


@register.simple_tag(takes_context=True)
def query_with(context: Context, **changes: Any) -> str:
    """The page's own query string with some of it changed; an empty value removes its name."""
    query = context["request"].GET.copy()
    query.pop("cursor", None)
    for name, value in changes.items():
        query[name] = value
        if value in ("", None):
            del query[name]
    return f"?{query.urlencode()}" if query else "?"
