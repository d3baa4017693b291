"""GET /v1/openapi.json"""

from __future__ import annotations

import httpx

from tests.sandboxes.api.routes import all_routes
from tests.stack import Stack


def test_every_route_is_described_for_people_and_machines(stack: Stack) -> None:
    page = httpx.get(f"{stack.url}/v1/openapi.json").json()
    assert page["openapi"].startswith("3.")
    for route in all_routes():
        operation = page["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.name
        assert operation["description"]
        assert operation["security"]
        assert any(status.startswith("2") for status in operation["responses"])


def test_every_field_of_a_body_that_needs_one_has_a_type(stack: Stack) -> None:
    page = httpx.get(f"{stack.url}/v1/openapi.json").json()
    create = page["components"]["schemas"]["SandboxIn"]
    assert create["additionalProperties"] is False
    assert create["properties"]["timeout_seconds"]["minimum"] == 10
    assert create["properties"]["timeout_seconds"]["maximum"] == 3600
    assert create["properties"]["network"]["enum"] == ["off", "restricted", "open"]
