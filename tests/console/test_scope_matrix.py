"""Every route, socket and tool × every role and scope × own, foreign and no account."""

from __future__ import annotations

import asyncio
import inspect
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern
from mcp.client.client import Client as McpClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from accounts.models import Role, User
from accounts.policy import ROLE_SCOPES, TOKEN_SCOPES
from console.platform_api import api as platform_api
from console.routing import websocket_urlpatterns
from sandboxes.api.access import Bearer
from sandboxes.mcp.tools import TOOLS
from tests.cast import Cast
from tests.console.route_rules import MADE, NAMED, RULES, Rule, routes
from tests.sandboxes.api.routes import Route, all_routes
from tests.sandboxes.mcp.conftest import Caller
from tests.stack import Stack

ROUTES = routes()
GUARDED = [(each, RULES[each]) for each in ROUTES if each in RULES and not RULES[each].is_public]
_ids = [route or "/" for route, _ in GUARDED]
#: What a route answers to who may ask, besides success: nothing to do here, or no host is there.
_REFUSALS = {400, 409, 410, 413, 422, 429, 502, 503}
_ODD = ("\x00", "9" * 40, "999")
_ASKED = re.compile(r"""(?:GET|POST|fields)(?:\.get|\.getlist)?[(\[]"(\w+)\"""")
ABSENT = "sbx_" + "0" * 26


def test_every_route_has_a_rule() -> None:
    missing = sorted(set(ROUTES) - set(RULES))
    assert not missing, f"state a rule in tests/console/route_rules.py for {missing}"
    named = {name for each in ROUTES.values() for name in each.pattern.converters}
    assert named <= {*MADE, *NAMED}, f"say in route_rules.py how to make {named - {*MADE, *NAMED}}"


def address(route: str, made: dict[str, Any]) -> str:
    pattern: URLPattern = ROUTES[route]
    path = "/" + route
    for name in pattern.pattern.converters:
        value = made.get(name, NAMED.get(name))
        for written in (f"<str:{name}>", f"<int:{name}>", f"<slug:{name}>", f"<uuid:{name}>"):
            path = path.replace(written, str(value))
    assert "<" not in path, path
    return path + RULES.get(route, Rule()).query


def made_for(route: str, cast: Cast) -> dict[str, Any]:
    names = ROUTES[route].pattern.converters
    return {name: make(cast) for name, make in MADE.items() if name in names}


_http = httpx.Client(timeout=30, verify=False, trust_env=False)  # noqa: S501 - to loopback only


def asked(method: str, url: str, **options: Any) -> httpx.Response:
    """On connections that are kept, without the cookies of an earlier answer."""
    _http.cookies.clear()
    return _http.request(method, url, **options)


class Visitor:
    """Somebody's browser, as far as it matters here: a session, and the page's token."""

    def __init__(self, stack: Stack, user: User | None) -> None:
        self._base = stack.url
        self._csrf = "c" * 32
        self._cookies = {"orkestr_csrf": self._csrf}
        if user is not None:
            self._cookies["orkestr_session"] = session_of(user)

    def ask(self, method: str, path: str, rule: Rule, **headers: str) -> httpx.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Cookie": cookies, "X-CSRFToken": self._csrf, **more}
        form = rule.form or {} if method == "POST" else None
        return asked(method, self._base + path, data=form, headers=sent)


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["orkestr_session"].value


def people(cast: Cast) -> dict[str, User]:
    return {Role.OWNER: cast.owner, Role.OPERATOR: cast.operator, Role.VIEWER: cast.viewer}


@pytest.mark.parametrize(("route", "rule"), GUARDED, ids=_ids)
def test_a_page_is_for_those_its_rule_names(
    stack: Stack, account: Cast, other_account: Cast, route: str, rule: Rule
) -> None:
    made = made_for(route, account)
    path = address(route, made)
    stranger, foreigner = Visitor(stack, None), Visitor(stack, other_account.owner)
    for method in rule.methods:
        _sent_to_sign_in(stranger, method, path, rule)
        if made:
            assert foreigner.ask(method, path, rule).status_code == 404, method
    for role, user in people(account).items():
        visitor, path = Visitor(stack, user), address(route, made_for(route, account))
        for method in rule.methods:
            answer = visitor.ask(method, path, rule)
            where = f"{role} {method} {path}: {answer.status_code} {answer.text[:200]}"
            scope = rule.scope(method)
            assert _is_as_ruled(answer, rule, refused=scope not in {"", *ROLE_SCOPES[role]}), where
            _keeps_its_promises(answer, where)
        if role == Role.OWNER:
            _takes_nothing_odd(visitor, path, rule)
            _answers_nonsense(visitor, path, rule, fields_of(route))


def _sent_to_sign_in(stranger: Visitor, method: str, path: str, rule: Rule) -> None:
    answer = stranger.ask(method, path, rule)
    assert answer.status_code == 302, method
    assert answer.headers["Location"].startswith("/login/?next=/")
    assert stranger.ask(method, path, rule, HX_Request="true").status_code == 401


def _is_as_ruled(answer: httpx.Response, rule: Rule, *, refused: bool) -> bool:
    if refused:
        return answer.status_code == 403
    if answer.status_code == 404:
        return rule.names_more
    went_in = not answer.headers.get("Location", "").startswith("/login/")
    return went_in and (answer.status_code < 400 or answer.status_code in _REFUSALS)


def _keeps_its_promises(answer: httpx.Response, where: str) -> None:
    """No page can be framed, and none is taken for another type than it says."""
    policy = answer.headers.get("Content-Security-Policy", "")
    assert answer.headers.get("X-Frame-Options") == "DENY", where
    assert "frame-ancestors 'none'" in policy or policy.startswith("sandbox"), where
    assert answer.headers.get("X-Content-Type-Options") == "nosniff", where
    assert answer.headers.get("Referrer-Policy") in {"same-origin", "no-referrer"}, where


def _takes_nothing_odd(visitor: Visitor, path: str, rule: Rule) -> None:
    """Methods without a rule, posts without the page's token or from elsewhere, other hosts."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        if method not in rule.methods:
            assert visitor.ask(method, path, rule).status_code in {403, 405}, method
    if "POST" in rule.methods:
        assert visitor.ask("POST", path, rule, X_CSRFToken="").status_code == 403
        elsewhere = visitor.ask("POST", path, rule, Origin="http://elsewhere.example")
        assert elsewhere.status_code == 403
    assert visitor.ask(rule.methods[0], path, rule, Host="elsewhere.example").status_code == 400


def fields_of(route: str) -> set[str]:
    """What the module of a route's view asks requests for, and the fields of its forms."""
    module = inspect.getmodule(inspect.unwrap(ROUTES[route].callback))
    assert module is not None
    asked_for = set(_ASKED.findall(inspect.getsource(module)))
    return asked_for.union(*(getattr(one, "base_fields", ()) for one in vars(module).values()))


def test_the_fields_that_pages_ask_for_are_found() -> None:
    assert {"path", "mode", "version", "content", "after"} <= fields_of(
        "sandboxes/<str:sandbox_id>/files/edit/"
    )
    assert {"name", "scopes", "narrower"} <= fields_of("tokens/")


def _answers_nonsense(visitor: Visitor, path: str, rule: Rule, fields: set[str]) -> None:
    """What no browser sends is refused, or passed over, and no error of the server's."""
    place = path.partition("?")[0]
    for odd in _ODD:
        sent = dict.fromkeys(fields, odd)
        for method in rule.methods:
            query = f"?{urlencode(sent)}" if method == "GET" else ""
            answer = visitor.ask(method, place + query, replace(rule, form=sent))
            where = f"{method} {place} {odd!r}: {answer.status_code} {answer.text[:200]}"
            assert answer.status_code < 500 or answer.status_code in _REFUSALS, where


def test_the_admin_is_for_staff_alone(stack: Stack, account: Cast) -> None:
    pages = {f"/{each.pattern}" for each in admin.site.get_urls() if "<" not in str(each.pattern)}
    models = {
        f"/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry
    }
    for user in (None, account.owner):
        visitor = Visitor(stack, user)
        for path in pages | models | {f"{one}add/" for one in models}:
            answer = visitor.ask("GET", "/admin" + path, Rule())
            assert answer.status_code != 200 or path == "/login/", path


# ---- the API -------------------------------------------------------------------------------------


def _guard(operation: Any) -> Bearer:
    (guard,) = operation.auth_callbacks
    assert isinstance(guard, Bearer)
    return guard


def platform_routes() -> list[Route]:
    """Those below ``/api`` that ask for a token."""
    return [
        Route(
            operation.view_func.__name__,
            method,
            f"/api{prefix}{path}",
            str(_guard(operation).scope or ""),
        )
        for prefix, router in platform_api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
        if operation.auth_callbacks
    ]


OPEN = {"start", "collect"}
"""Routes below ``/api`` for programs that have no token yet: they ask for one."""
API_ROUTES = [*all_routes(), *platform_routes()]


def test_only_a_login_that_begins_needs_no_token() -> None:
    names = {
        operation.view_func.__name__
        for _, router in platform_api._routers
        for view in router.path_operations.values()
        for operation in view.operations
        if not operation.auth_callbacks
    }
    assert names == OPEN


def send(stack: Stack, route: Route, sandbox_id: str, *, token: str = "", **how: Any) -> Any:
    path = route.address(sandbox_id, account=how.get("account"))
    path = path.replace("{token_id}", how.get("token_id", "tok_" + "0" * 26))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return asked(route.method, stack.url + path, headers=headers, json=route.body)


@pytest.mark.parametrize("route", API_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_each_scope_opens_what_is_its_and_nothing_else(
    stack: Stack, account: Cast, other_account: Cast, route: Route
) -> None:
    sandbox_id = account.ended_sandbox()
    for scope in TOKEN_SCOPES:
        token = account.mint(scopes=[scope]).text
        if route.scope and scope != route.scope:
            answer = send(stack, route, sandbox_id, token=token, account=account)
            assert answer.status_code == 403, scope
            assert route.scope in answer.json()["detail"]
        elif route.name != "create_sandbox":  # it is made for real in tests of its own
            answer = send(stack, route, sandbox_id, token=token, account=account)
            assert answer.status_code not in {401, 403}, scope
    foreign = other_account.mint().text
    if route.in_sandbox:
        answers = [send(stack, route, one, token=foreign) for one in (sandbox_id, ABSENT)]
        assert [answer.status_code for answer in answers] == [404, 404]
        texts = {
            answer.text.replace(one, "")
            for answer, one in zip(answers, (sandbox_id, ABSENT), strict=True)
        }
        assert len(texts) == 1
    elif "{" in route.path:
        mine = {"account": account, "token_id": account.mint().token.id}
        assert send(stack, route, sandbox_id, token=foreign, **mine).status_code == 404
    assert send(stack, route, sandbox_id).status_code == 401


def test_a_token_in_an_address_is_no_token(stack: Stack, account: Cast) -> None:
    token = account.mint().text
    for path in ("/v1/sandboxes", "/api/auth/me", "/api/sandboxes/mcp"):
        for name in ("token", "access_token", "api_key", "key", "Authorization"):
            method = "POST" if path.endswith("/mcp") else "GET"
            answer = asked(method, f"{stack.url}{path}", params={name: token})
            assert answer.status_code == 401, (path, name)
    page = asked("GET", f"{stack.url}/sandboxes/", params={"token": token})
    assert page.headers["Location"].startswith("/login/")
    assert page.headers["Referrer-Policy"] == "same-origin"


# ---- tools and sockets ---------------------------------------------------------------------------


ARGUMENTS: dict[str, dict[str, Any]] = {
    "create_sandbox": {"template": "debian-12"},
    "exec_command": {"command": "true"},
    "write_file": {"path": "/workspace/f", "content": ""},
    "read_file": {"path": "/workspace/f"},
    "list_directory": {"path": "/workspace"},
}


def test_each_tool_asks_for_its_scope_and_knows_no_foreign_sandbox(
    stack: Stack, account: Cast, other_account: Cast
) -> None:
    call = Caller(stack.url)
    sandbox_id = account.ended_sandbox()

    def talk_of(named: str) -> Any:
        async def talk(client: McpClient) -> dict[str, Any]:
            offered = {tool.name for tool in (await client.list_tools()).tools}
            answers = {}
            for name, tool in TOOLS.items():
                needs = "sandbox_id" in tool.described.input_schema.get("properties", {})
                arguments = ARGUMENTS.get(name, {}) | ({"sandbox_id": named} if needs else {})
                if named == ABSENT and not needs:
                    continue
                if name != "create_sandbox" or name not in offered:
                    answers[name] = str((await client.call_tool(name, arguments)).content)
            return {"offered": offered, "answers": answers}

        return talk

    for scope in TOKEN_SCOPES:
        found = call(account.mint(scopes=[scope]).text, talk_of(sandbox_id))
        assert found["offered"] == {name for name, tool in TOOLS.items() if tool.scope == scope}
        for name, answer in found["answers"].items():
            refused = f"scope {TOOLS[name].scope}" in answer
            assert refused is (name not in found["offered"]), (scope, name, answer)
    foreign = other_account.mint().text
    absent = call(foreign, talk_of(ABSENT))["answers"]
    told = call(foreign, talk_of(sandbox_id))["answers"]
    assert len(absent) >= 7
    for name, answer in absent.items():
        assert told[name].replace(sandbox_id, "") == answer.replace(ABSENT, ""), name
        assert "not" in answer


SOCKETS = [str(each.pattern) for each in websocket_urlpatterns]
#: The close codes for who is not signed in, and for what is not there.
SIGNED_OUT, NOT_FOUND = 4401, 4404


def closed_with(stack: Stack, path: str, *, session: str = "", origin: str = "") -> int:
    """The code a socket is closed with; 0 when it stays open, and the status of a refusal."""

    async def listen() -> int:
        address = stack.url.replace("http", "ws", 1) + "/" + path
        headers = {"Cookie": f"orkestr_session={session}"} if session else {}
        async with connect(
            address, additional_headers=headers, origin=Origin(origin or stack.url)
        ) as socket:
            try:
                async with asyncio.timeout(10):
                    await socket.recv()
            except ConnectionClosed as error:
                return error.rcvd.code if error.rcvd else 1006
            try:
                async with asyncio.timeout(0.5):
                    while True:
                        await socket.recv()
            except TimeoutError:
                return 0
            except ConnectionClosed as error:
                return error.rcvd.code if error.rcvd else 1006

    return asyncio.run(listen())


@pytest.mark.parametrize("route", SOCKETS)
def test_a_socket_is_for_people_of_the_account_from_our_own_pages(
    stack: Stack, account: Cast, other_account: Cast, route: str
) -> None:
    sandbox_id = account.ended_sandbox()
    path = route.replace("<str:sandbox_id>", sandbox_id)
    path = path.replace("<str:terminal_id>", NAMED["terminal_id"])
    assert "<" not in path, f"say how to name what {route} names"
    assert closed_with(stack, path) == SIGNED_OUT
    token = account.mint().text
    assert closed_with(stack, f"{path}?token={token}") == SIGNED_OUT
    foreign = closed_with(stack, path, session=session_of(other_account.owner))
    # What names nothing shows whoever is signed in what is theirs.
    assert foreign == (NOT_FOUND if "<" in route else 0)
    for user in people(account).values():
        mine = closed_with(stack, path, session=session_of(user))
        assert mine == 0 or "terminal" in route
    with pytest.raises(Exception, match="403"):
        closed_with(stack, path, origin="http://elsewhere.example")
