"""A row of the list as HTML. Fifty make a page, so it is put together here, not by a template."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

from django.template.loader import get_template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.templatetags.console_ui import ago, countdown, pairs, short_id
from sandboxes.models import Sandbox, Status
from timeline.events import Actor

#: What a row shows of a sandbox; no more is read of it.
SHOWN: Final = (
    "id",
    "status",
    "reason",
    "template",
    "size",
    "network",
    "volume_name",
    "metadata",
    "actor",
    "created_at",
    "expires_at",
)
_ENDED: Final = {"expired": "expired", "requested": "ended", "": "ended"}
_NOTHING: Final = SafeString("")


def row_shows(sandbox: Sandbox) -> tuple[object, ...]:
    """All that a row is made of, so that equal ones look alike."""
    return tuple(getattr(sandbox, name) for name in SHOWN)


def row_html(sandbox: Sandbox, *, may_act: bool) -> SafeString:
    """One row. ``may_act``: it can be chosen."""
    one = sandbox.id
    short = short_id(one)
    return format_html(
        '<li class="list-row" id="row-{}" data-sandbox="{}" data-status="{}"{}>{}'
        '<div><a class="whole id" href="{}">{}</a>{}</div>'
        '<div>{}</div><div class="wide">{}</div><div class="wide">{}</div>'
        '<div class="wide ended">{}</div><div class="end">{}</div></li>',
        one,
        one,
        sandbox.status,
        SafeString(" data-ended") if sandbox.ended else _NOTHING,
        _pick(one, short) if may_act else _NOTHING,
        _page().replace("SANDBOX", one),
        short,
        _sub(sandbox),
        _pill(sandbox.status),
        _kind(sandbox.template, sandbox.size, sandbox.network),
        _chip(Actor.from_json(sandbox.actor)),
        ago(sandbox.created_at),
        _left(sandbox),
    )


@cache
def _page() -> str:
    return reverse("sandbox", args=["SANDBOX"])


def _pick(one: str, short: str) -> SafeString:
    return format_html(
        '<input type="checkbox" class="checkbox pick" name="id" value="{}" form="bulk"'
        ' autocomplete="off" aria-label="Choose {}">',
        one,
        short,
    )


def _sub(sandbox: Sandbox) -> SafeString:
    """What its maker says of it."""
    told = [f"volume {sandbox.volume_name}"] if sandbox.volume_name else []
    told += pairs(sandbox.metadata)
    if not told:
        return _NOTHING
    each = format_html_join(", ", "<bdi>{}</bdi>", ((one,) for one in told))
    return format_html('<span class="sub">{}</span>', each)


def _left(sandbox: Sandbox) -> SafeString | str:
    if sandbox.live:
        return countdown(sandbox.expires_at)
    if sandbox.status == Status.PAUSED:
        return "paused"
    reason = _ENDED.get(sandbox.reason, sandbox.reason)
    return format_html('<span class="ended">{}</span>', reason)


@cache
def _pill(status: str) -> SafeString:
    return format_html(
        '<span class="pill" data-state="{}"><span class="dot"></span>{}</span>',
        status,
        Status(status).label,
    )


@lru_cache(maxsize=512)
def _kind(template: str, size: str, network: str) -> SafeString:
    return format_html(
        '<span class="mono">{}</span><span class="sub">{}, network {}</span>',
        template,
        size,
        network,
    )


@lru_cache(maxsize=4096)
def _chip(actor: Actor) -> SafeString:
    html = get_template("timeline/rows/actor.html").render({"actor": actor})
    return SafeString(html.strip())
