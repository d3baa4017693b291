"""Lines of a CSV file, of whose text no spreadsheet makes a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def plain_cell(value: object) -> object:
    """``value``, with an apostrophe before text that a spreadsheet would calculate.

    Numbers are left as they are.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_BEGINS):
        return f"'{value}"
    return value


def csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    """RFC 4180, in UTF-8."""
    text = io.StringIO()
    csv.writer(text).writerows([plain_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
