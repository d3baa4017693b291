"""``/v1``: the routes together, their OpenAPI description, and how they read JSON."""

from __future__ import annotations

from typing import Any, Final

import orjson
from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.operation import Operation
from ninja.parser import Parser

from sandboxes.api import errors
from sandboxes.api.routes import (
    background,
    code,
    commands,
    events,
    files,
    pausing,
    presign,
    previews,
    sandboxes,
    snapshots,
    volumes,
    webhooks,
)

DESCRIPTION: Final = """Sandboxes for code that an agent wrote.

Send a token as `Authorization: Bearer ork_…`; mint one in the console. An error is
`{"detail": "what to do", "code": "…"}`. Every answer carries `x-request-id`.
"""


class JsonParser(Parser):
    """orjson: a 16 MiB file is read in a tenth of the time, and invalid Unicode is refused."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Any JSON value; whether it fits is the schema's part. Raises ``ValueError``."""
        return orjson.loads(request.body)


class Api(NinjaAPI):
    """Names an operation after its function: these names end up in generated clients."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__


api: Final = Api(
    title="Sandboxes",
    version="1",
    description=DESCRIPTION,
    docs_url=None,
    openapi_url="/openapi.json",
    urls_namespace="v1",
    parser=JsonParser(),
)
# Fixed names stand before `/{sandbox_id}`, which would take them for ids.
for routes in (
    webhooks,
    snapshots,
    volumes,
    sandboxes,
    pausing,
    commands,
    background,
    code,
    files,
    presign,
    previews,
    events,
):
    api.add_router("/sandboxes", routes.router)
errors.install(api)
