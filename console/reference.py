"""The API's own OpenAPI description, arranged for a page: groups, operations, fields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from sandboxes.api.access import Bearer
from sandboxes.api.api import api

_PREFIX: Final = "/v1/"
_FIRST: Final = ("Sandboxes", "Commands", "Files", "Code", "Background commands", "Timeline")
_REF: Final = "#/components/schemas/"
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a request or an answer. ``default`` is as JSON writes it, empty for none."""

    name: str
    type: str
    is_required: bool
    default: str
    about: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status comes with. An error's body is the same everywhere and has no fields here."""

    status: int
    phrase: str
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. ``about`` has a text for each paragraph."""

    name: str
    method: str
    path: str
    about: list[str]
    scope: str
    parameters: list[Field]
    body: list[Field]
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Group:
    """Operations of one tag."""

    title: str
    anchor: str
    operations: list[Operation]


@cache
def reference() -> list[Group]:
    """Every route of `/v1`; what readers look for most comes first."""
    document = api.get_openapi_schema(path_prefix=_PREFIX)
    schemas, scopes = document["components"]["schemas"], _scopes()
    groups: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, found in methods.items():
            operation = _operation(path, method, found, schemas, scopes)
            groups.setdefault(found["tags"][0], []).append(operation)
    tags = sorted(groups, key=lambda tag: _FIRST.index(tag) if tag in _FIRST else len(_FIRST))
    return [Group(tag, tag.lower().replace(" ", "-"), groups[tag]) for tag in tags]


def _scopes() -> dict[str, str]:
    """The description says that a token is needed, and not with which scope."""
    return {
        operation.view_func.__name__: str(guard.scope)
        for _, router in api._routers
        for view in router.path_operations.values()
        for operation in view.operations
        for guard in operation.auth_callbacks
        if isinstance(guard, Bearer)
    }


def _operation(
    path: str, method: str, found: Schema, schemas: Schema, scopes: dict[str, str]
) -> Operation:
    body = found.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = found["operationId"]
    return Operation(
        name=name,
        method=method.upper(),
        path=path,
        about=[" ".join(part.split()) for part in found.get("description", "").split("\n\n")],
        scope=scopes.get(name, ""),
        parameters=[_parameter(one, schemas) for one in found.get("parameters", [])],
        body=_fields(body.get("schema", {}), schemas),
        answers=[
            _answer(status, one, schemas) for status, one in sorted(found["responses"].items())
        ],
    )


def _answer(status: int | str, found: Schema, schemas: Schema) -> Answer:
    schema = found.get("content", {}).get("application/json", {}).get("schema", {})
    code = int(status)
    fields = _fields(schema, schemas) if code < 400 else []
    return Answer(code, HTTPStatus(code).phrase, fields)


def _parameter(found: Schema, schemas: Schema) -> Field:
    required = bool(found.get("required"))
    schema = {"description": found.get("description", ""), **found.get("schema", {})}
    return _field(found["name"], schema, schemas, is_required=required)


def _fields(schema: Schema, schemas: Schema) -> list[Field]:
    whole = _resolved(schema, schemas)
    required = whole.get("required", [])
    return [
        _field(name, one, schemas, is_required=name in required)
        for name, one in whole.get("properties", {}).items()
    ]


def _field(name: str, schema: Schema, schemas: Schema, *, is_required: bool) -> Field:
    default = schema.get("default")
    shown = "" if default is None or default in ({}, []) else json.dumps(default).strip('"')
    about = schema.get("description", "")
    return Field(name, _type(schema, schemas), is_required, shown, about)


def _type(schema: Schema, schemas: Schema) -> str:
    if "$ref" in schema:
        inner = _resolved(schema, schemas)
        return _type(inner, schemas) if "enum" in inner else _named(schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one, schemas) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(str(one) for one in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}), schemas)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'], schemas)}"
    return kind + _bounds(schema)


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return f" ≥ {low}" if high is None else f" ≤ {high}"
    return f" {low} to {high}" if high < 2**53 else f" ≥ {low}"


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found: Schema = schemas[schema["$ref"].removeprefix(_REF)]
    return found


def _named(schema: Schema) -> str:
    return str(schema.get("$ref", "")).removeprefix(_REF).removesuffix("Out").removesuffix("In")
