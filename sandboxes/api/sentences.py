"""What pydantic found wrong with a request, in words for whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST: Final = 5
_SOURCES: Final = ("body", "query", "path", "header")
#: By pydantic's own names of what can be wrong; braces are filled from what it says beside them.
_WORDS: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this request",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "string_type": "must be a string",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "may have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_max_places": "may have at most {decimal_places} decimal places",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length}, and has {actual_length}",
    "too_long": "may have at most {max_length}, and has {actual_length}",
    "dict_type": "must be an object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
}


def sentences(errors: Sequence[Mapping[str, Any]]) -> str:
    """One for each of the first five."""
    return " ".join(_sentence(one) for one in errors[:_MOST])


def _sentence(error: Mapping[str, Any]) -> str:
    where = _field([str(part) for part in error.get("loc", ())])
    words = _WORDS.get(str(error.get("type")))
    if words is None:
        return f"{where}: {error.get('msg', 'is not valid')}."
    return f"{where} {words.format(**error.get('ctx') or {})}."


def _field(place: list[str]) -> str:
    """``env.A``; where a field came from is nothing to whoever sent it."""
    if place and place[0] in _SOURCES:
        place = place[1:]
    if place and place[0] in ("payload", "query"):
        place = place[1:]
    return ".".join(place)[:100].replace("\x00", "") or "The body"
