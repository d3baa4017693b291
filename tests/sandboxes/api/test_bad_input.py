"""What no route may choke on."""

from __future__ import annotations

import json

import httpx
import pytest
from orkestr import Sandbox

from tests.sandboxes.api.routes import Route, all_routes
from tests.waiting import until

WITH_BODY = [route for route in all_routes() if route.body is not None]
IN_SANDBOX = [route for route in all_routes() if route.in_sandbox]
PATHS = sorted({route.path for route in all_routes()})


def clear(answer: httpx.Response, *statuses: int) -> None:
    """A 4xx with one sentence, as JSON, with an id to ask about."""
    assert answer.status_code in (statuses or range(400, 500)), answer.text[:500]
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert detail.endswith(".")
    assert answer.headers["x-request-id"]


MALFORMED = {
    "no JSON": b"{broken",
    "empty": b"",
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "a string": b'"x"',
    "half a character": b'{"command": "\xff"}',
    "half a surrogate pair": b'{"command": "\\ud800", "path": "\\ud800"}',
    "deep": b"[" * 100_000,
    "NaN": b'{"timeout_seconds": NaN}',
    "endless number": b'{"timeout_seconds": ' + b"9" * 10_000 + b"}",
    "unknown field": b'{"colour": "blue"}',
}


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_a_malformed_body_is_told_in_a_sentence(
    http: httpx.Client, sandbox: Sandbox, route: Route
) -> None:
    for body in MALFORMED.values():
        clear(http.request(route.method, route.address(sandbox.id), content=body), 422)
    assert sandbox.exec("echo alive").stdout == "alive\n"


CREATES = {
    "[1]": "The body must be a JSON object.",
    '{"template": 1}': "template must be a string.",
    '{"template": "debian-12", "timeout_seconds": 5}': "timeout_seconds must be at least 10.",
    '{"template": "debian-12", "timeout_seconds": 1.5}': "timeout_seconds must be a whole number.",
    '{"template": "debian-12", "network": "vpn"}': "network must be 'off', 'restricted' or 'open'.",
    '{"template": "debian-12", "env": {"A": 1}}': "env.A must be a string.",
    '{"template": "debian-12", "auto_resume": "yes"}': "auto_resume must be true or false.",
    '{"template": "debian-12", "colour": 1}': "colour is not a field of this request.",
    '{"template": "debian-12", "cpu": 64}': "the largest is large with 4 CPUs and 8 GB.",
}


def test_what_is_wrong_with_a_create_is_said_in_words(http: httpx.Client) -> None:
    for body, words in CREATES.items():
        assert words in http.post("/v1/sandboxes", content=body).json()["detail"]


def test_no_answer_is_kept_or_taken_for_a_page(http: httpx.Client) -> None:
    for path in ("/v1/sandboxes", "/v1/sandboxes/limits", "/v1/sandboxes/sbx_nothing"):
        headers = http.get(path).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == (
            "no-store",
            "nosniff",
        )


def test_a_field_is_called_by_its_name_whatever_that_is(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    files = f"/v1/sandboxes/{sandbox.id}/files"
    assert http.get(files).json()["detail"] == "path is missing."
    assert http.post(files, json={"content": ""}).json()["detail"] == "path is missing."
    none = http.post(f"{files}/batch", json={"files": []}).json()["detail"]
    assert none == "files must have at least 1, and has 0."
    below = {"path": "/workspace/a/b", "parents": False}
    assert "There is no /workspace/a" in http.post(f"{files}/mkdir", json=below).json()["detail"]
    root = http.delete(files, params={"path": "/workspace"})
    assert (root.status_code, root.json()["code"]) == (403, "not_permitted")
    assert "name something below it" in root.json()["detail"]


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_every_field_of_a_wrong_type_is_told(
    http: httpx.Client, sandbox: Sandbox, route: Route
) -> None:
    assert route.body is not None
    for name, right in route.body.items():
        for wrong in (None, {"a": 1}, [[1]], 1.5, True):
            if wrong is right:
                continue
            body = {**route.body, name: wrong}
            clear(http.request(route.method, route.address(sandbox.id), json=body), 422)


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_ten_megabytes_where_a_word_belongs_are_refused(
    http: httpx.Client, sandbox: Sandbox, route: Route
) -> None:
    assert route.body is not None
    name = next(iter(route.body))
    body = {**route.body, name: "x" * 10_000_000}
    clear(http.request(route.method, route.address(sandbox.id), json=body))


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_a_body_beyond_the_ceiling_is_refused(
    http: httpx.Client, sandbox: Sandbox, route: Route
) -> None:
    body = json.dumps({"content": "x" * 25 * 1024 * 1024}).encode()
    clear(http.request(route.method, route.address(sandbox.id), content=body), 413)
    assert sandbox.exec("echo alive").stdout == "alive\n"


@pytest.mark.parametrize("route", IN_SANDBOX, ids=lambda route: route.name)
@pytest.mark.parametrize("name", ["x", "sbx_", "sbx_" + "I" * 26, "%00", "x" * 4000, "%ff", "ü"])
def test_an_id_that_is_none_is_not_found(http: httpx.Client, route: Route, name: str) -> None:
    answer = http.request(route.method, route.address(name), json=route.body)
    assert answer.status_code == 404


@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_refused_in_json(http: httpx.Client, path: str) -> None:
    good = {route.method for route in all_routes() if route.path == path}
    address = path.replace("{sandbox_id}", "sbx_" + "0" * 26)
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - good:
        answer = http.request(method, address)
        clear(answer, 404, 405)
        if answer.status_code == 405:
            assert set(answer.headers["Allow"].split(", ")) == good


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing", "/v1/sandboxes/", "/v1/sandboxes/a/b/c"])
def test_an_address_that_is_none_says_where_to_look(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    clear(answer, 404)
    assert "openapi.json" in answer.json()["detail"]


BOMBS = {
    "processes": "bomb() { bomb | bomb & }; bomb; sleep 5",
    "memory": "tail /dev/zero",
    "disk": "head -c 100G /dev/zero > filler",
    "output": "yes | head -c 200000000",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_harms_nobody_else(sandbox: Sandbox, bomb: str) -> None:
    with Sandbox.create(template="debian-12") as other:
        other.files.write("/workspace/kept", "as it was")
        try:
            sandbox.exec(BOMBS[bomb], timeout_seconds=60)
        except Exception as error:
            assert type(error).__module__.startswith("orkestr"), error
        assert other.exec("cat kept").stdout == "as it was"
        until(lambda: Sandbox.get(other.id).status == "running", what="it is still there")
