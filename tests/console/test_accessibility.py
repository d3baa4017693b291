"""axe-core on every page, in light, in dark and on a phone: nothing serious or critical."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import httpx
import pytest
from django.test import Client
from playwright.sync_api import Browser, Page

from sandboxes.models import Status
from tests.cast import Cast, make_cast
from tests.console.pages import shot
from tests.console.route_rules import RULES, routes
from tests.console.test_scope_matrix import address, made_for
from tests.node import MODULES
from tests.stack import Stack

ColorScheme = Literal["light", "dark"]

ROUTES = [each for each in routes() if each not in RULES or RULES[each].get is not None]
#: Each is tried as it is, besides every page of the route table: its name, who looks, the address.
ODD = {
    "signed out": ("", "/login/"),
    "not found": ("owner", "/sandboxes/sbx_nothing/"),
    "a viewer's overview": ("viewer", "/"),
    "nothing there yet": ("empty", "/"),
    "no sandboxes yet": ("empty", "/sandboxes/"),
    "no tokens yet": ("empty", "/tokens/"),
    "nothing is found": ("owner", "/sandboxes/?q=nothing-is-called-this"),
    "not allowed": ("viewer", "/sandboxes/new/"),
    **{
        f"administration {path}": ("staff", f"/admin/{path}")
        for path in (
            "",
            "accounts/account/",
            "accounts/auditentry/",
            "accounts/plan/",
            "accounts/plan/enterprise/change/",
            "accounts/size/",
            "accounts/user/",
            "sandboxes/alloweddomain/",
            "sandboxes/alloweddomain/add/",
        )
    },
}
#: How each page is looked at: the colours, how wide the window is, and by which rules (all).
#: Between light and dark nothing but colours differs.
LOOKS: tuple[tuple[ColorScheme, int, list[str]], ...] = (
    ("light", 1280, []),
    ("dark", 1280, ["color-contrast", "link-in-text-block"]),
    ("light", 390, []),
)
#: What Django's own pages have and we do not change.
_DJANGO_OWN = {
    "aria-prohibited-attr": "the help beside a choice of many, written by Django's own script",
}
_RUN = """async (rules) => {
  const only = rules.length ? {runOnly: rules} : {};
  const found = await axe.run(document, {resultTypes: ['violations'], ...only});
  return found.violations
    .filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => one.id + ': ' + one.nodes.slice(0, 4).map(node => node.html.slice(0, 160) + ' | ' +
      (node.any[0] || node.all[0] || node.none[0] || {}).message).join('; '));
}"""
#: A colour on its way from one to another has the contrast of neither.
_ODD_SIGNS = re.compile(r"[^a-z]+")
_STYLE = """css => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  document.adoptedStyleSheets.push(sheet);
}"""
_STILL = "*, ::before, ::after {transition: none !important; animation: none !important}"


@cache
def _axe() -> str:
    return (MODULES / "axe-core" / "axe.min.js").read_text()


@dataclass(frozen=True)
class Room:
    """A browser, and the people who may sit at it."""

    stack: Stack
    page: Page
    account: Cast
    sessions: dict[str, str]

    def sit(self, who: str) -> None:
        context = self.page.context
        context.clear_cookies()
        if who:
            cookie = {"name": "orkestr_session", "value": self.sessions[who]}
            context.add_cookies([{**cookie, "url": self.stack.url}])  # type: ignore[typeddict-item]

    def complaints(self, path: str) -> dict[str, list[Any]]:
        """By how it was looked at."""
        found: dict[str, list[Any]] = {}
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        self.page.goto(self.stack.url + path, wait_until="load")
        self.page.evaluate(_STYLE, _STILL)
        self.page.evaluate(_axe())
        for scheme, width, rules in LOOKS:
            self.page.set_viewport_size({"width": width, "height": 844})
            self.page.emulate_media(color_scheme=scheme)
            said = self.page.evaluate(_RUN, rules)
            if wrong := [one for one in said if not _is_djangos(path, one)]:
                found[f"{scheme}, {width} wide"] = wrong
        shot(self.page, "page" + _ODD_SIGNS.sub("-", path)[:60])
        return found


def _is_djangos(path: str, complaint: str) -> bool:
    return path.startswith("/admin/") and complaint.partition(":")[0] in _DJANGO_OWN


@pytest.fixture(scope="module")
def room(_stack: Stack, browser: Browser, django_db_blocker: Any) -> Iterator[Room]:
    with django_db_blocker.unblock():
        account, empty = make_cast(), make_cast()
        for status in (Status.RUNNING, Status.PAUSED, Status.TERMINATED, Status.FAILED):
            account.sandbox_row(status=status)
        account.mint(name="ci")
        empty.operator.is_staff = True
        empty.operator.save(update_fields=["is_staff"])
        people = {
            "owner": account.owner,
            "viewer": account.viewer,
            "empty": empty.owner,
            "staff": empty.operator,
        }
        sessions = {}
        for name, user in people.items():
            client = Client()
            client.force_login(user)
            sessions[name] = client.cookies["orkestr_session"].value
        context = browser.new_context()
        context.set_default_timeout(30_000)
        yield Room(_stack, context.new_page(), account, sessions)
        context.close()


def is_page(stack: Stack, path: str, session: str) -> bool:
    """Whether that is a whole page, rather than a piece of one, a file or JSON."""
    headers = {"Cookie": f"orkestr_session={session}"}
    answer = httpx.get(stack.url + path, headers=headers, timeout=30)
    is_html = answer.headers.get("Content-Type", "").startswith("text/html")
    is_attached = "attachment" in answer.headers.get("Content-Disposition", "")
    return is_html and not is_attached and "<html" in answer.text[:2000]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route or "/")
def test_axe_finds_nothing_serious_on_a_page(stack: Stack, room: Room, route: str) -> None:
    path = address(route, made_for(route, room.account))
    if not is_page(stack, path, room.sessions["owner"]):
        return
    room.sit("owner")
    assert not room.complaints(path)


@pytest.mark.parametrize(("who", "path"), ODD.values(), ids=list(ODD))
def test_axe_finds_nothing_serious_in_an_odd_state(
    stack: Stack, room: Room, who: str, path: str
) -> None:
    room.sit(who)
    assert not room.complaints(path)


def test_the_pages_come_from_the_route_table(stack: Stack, room: Room) -> None:
    owner = room.sessions["owner"]
    for route in ("", "sandboxes/", "tokens/", "docs/"):
        assert is_page(stack, address(route, {}), owner), route
