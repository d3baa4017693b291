"""Rows of queries written by hand, as models.

For what all requests of a kind wait for: there the ORM's way costs more than PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model

M = TypeVar("M", bound=Model)


@cache
def columns_of(model: type[Model]) -> tuple[str, ...]:
    """What to ask for, in the order that ``model_of`` takes it in."""
    return tuple(str(field.column) for field in model._meta.concrete_fields)


def model_of(model: type[M], row: Sequence[Any]) -> M:
    """A model that is in the database, from its columns."""
    values = list(row)
    for place, convert in _converters(model):
        values[place] = convert(values[place], None, connection)
    return model.from_db(None, columns_of(model), values)


@cache
def _converters(model: type[Model]) -> list[tuple[int, Any]]:
    """Of the columns that the driver does not give as Python knows them."""
    fields = enumerate(model._meta.concrete_fields)
    return [(place, one.from_db_value) for place, one in fields if hasattr(one, "from_db_value")]
