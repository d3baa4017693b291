"""Cells of a CSV file as text that no spreadsheet takes for a formula."""

from __future__ import annotations

from typing import Final

_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def plain_cell(value: object) -> object:
    """``value``, with an apostrophe before text that a spreadsheet would calculate.

    Numbers are left as they are.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_BEGINS):
        return f"'{value}"
    return value
