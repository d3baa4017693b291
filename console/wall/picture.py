"""The wall as HTML, in cells: a cell is rendered again only when what it shows has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

import orjson
from django.template.loader import get_template
from django.utils.safestring import SafeString

from console.money import cents
from sandboxes.fleet.selectors import Fleet, FleetCounts, FleetRow

SHOWN: Final = 300
_WIDTH: Final = 60
_HEIGHT: Final = 24


@dataclass(frozen=True, slots=True)
class Cell:
    """``shows`` is all that its template looks at, so that equal ones look alike."""

    name: str
    shows: Callable[[FleetRow], Mapping[str, Any]]


def _name(row: FleetRow) -> Mapping[str, Any]:
    one = row.sandbox
    return {
        "id": one.id,
        "template": one.template,
        "metadata": one.metadata,
        "status": one.status,
        "label": one.get_status_display(),
    }


def _doing(row: FleetRow) -> Mapping[str, Any]:
    return {
        "id": row.sandbox.id,
        "last": row.last,
        "streak": row.streak if row.streak > 1 else 0,
        "reason": row.attention.reasons[0] if row.attention.reasons else None,
        "more": row.attention.reasons[1:],
    }


def _use(row: FleetRow) -> Mapping[str, Any]:
    if row.use is None:
        return {"use": None}
    return {
        "use": True,
        "cpu": round(row.use.cpu[-1] * 100),
        "memory": row.use.memory_bytes >> 20 << 20,
        "cpu_line": line(row.use.cpu),
        "memory_line": line(row.use.memory),
    }


def _left(row: FleetRow) -> Mapping[str, Any]:
    one = row.sandbox
    return {"live": one.live, "expires_at": one.expires_at, "held": one.held_at is not None}


CELLS: Final = (
    Cell("name", _name),
    Cell("doing", _doing),
    Cell("use", _use),
    Cell("age", lambda row: {"since": row.sandbox.started_at or row.sandbox.created_at}),
    Cell("left", _left),
    Cell("eur", lambda row: {"eur": cents(row.eur)}),
)


def line(shares: Sequence[float]) -> str:
    """Points of an SVG polyline of 60 by 24, the latest at the right; one a sample, 30 wide."""
    step = _WIDTH / 30
    first = _WIDTH - step * (len(shares) - 1)
    return " ".join(
        f"{first + step * at:g},{_HEIGHT - 1 - share * (_HEIGHT - 2):.0f}"
        for at, share in enumerate(shares)
    )


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of the page: its cells by name, and whether something is wrong with it."""

    id: str
    tone: str
    cells: Mapping[str, str]

    @property
    def mark(self) -> str:
        """Rows of the same mark look the same."""
        return f"{crc32(chr(0).join((self.tone, *self.cells.values())).encode()):08x}"


@dataclass(frozen=True, slots=True)
class Picture:
    """The wall at one moment. ``counts`` is HTML; ``hidden`` more run than are shown."""

    version: int = 0
    rows: Mapping[str, ShownRow] = field(default_factory=dict)
    counts: str = ""
    hidden: int = 0
    any: bool = False

    def html(self, sandbox_id: str) -> str:
        """One row whole."""
        return str(get_template("console/wall/row.html").render({"row": self.rows[sandbox_id]}))

    def frame(self) -> str:
        """All of it, for a page that has nothing or does not know what it missed."""
        rows = {one: self.html(one) for one in self.rows}
        return self._frame("all", rows=rows, order=list(self.rows), counts=self.counts)

    def frame_since(self, before: Picture) -> str | None:
        """What is different from ``before``: rows that are new, cells that changed, the order."""
        new = {one: self.html(one) for one in self.rows if one not in before.rows}
        changed = {
            one: cells
            for one, row in self.rows.items()
            if one in before.rows and (cells := _changes(before.rows[one], row))
        }
        parts: dict[str, Any] = {"rows": new, "cells": changed}
        if list(self.rows) != list(before.rows):
            parts["order"] = list(self.rows)
        if self.counts != before.counts:
            parts["counts"] = self.counts
        if not any(parts.values()):
            return None
        return self._frame("some", **parts)

    def _frame(self, kind: str, **parts: Any) -> str:
        state = "full" if self.rows else "still" if self.any else "new"
        return orjson.dumps({"t": kind, "state": state, **parts}).decode()


def _changes(before: ShownRow, now: ShownRow) -> dict[str, str]:
    cells = {name: html for name, html in now.cells.items() if before.cells[name] != html}
    if before.tone != now.tone:
        cells["tone"] = now.tone
    return {**cells, "mark": now.mark} if cells else {}


class Painter:
    """Keeps an account's picture current; ``paint`` is for one thread at a time."""

    def __init__(self, account_id: str) -> None:
        self._fleet = Fleet(account_id)
        self._known: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
        self._counted: tuple[FleetCounts, str] | None = None
        self.picture = Picture()

    def paint(self) -> Picture:
        """Read what is new and render what it changed."""
        view = self._fleet.read()
        known = {row.sandbox.id: self._cells(row) for row in view.rows[:SHOWN]}
        self._known = known
        rows = {
            row.sandbox.id: ShownRow(
                row.sandbox.id,
                row.attention.tone,
                {
                    cell.name: html
                    for cell, (_, html) in zip(CELLS, known[row.sandbox.id], strict=True)
                },
            )
            for row in view.rows[:SHOWN]
        }
        hidden = max(0, view.counts.live - len(rows))
        self.picture = Picture(
            self.picture.version + 1,
            rows,
            self._counts(view.counts, hidden),
            hidden,
            view.counts.any,
        )
        return self.picture

    def _cells(self, row: FleetRow) -> list[tuple[Mapping[str, Any], str]]:
        before = self._known.get(row.sandbox.id)
        cells = []
        for at, cell in enumerate(CELLS):
            shows = cell.shows(row)
            if before is not None and before[at][0] == shows:
                cells.append(before[at])
            else:
                cells.append((shows, _render(f"console/wall/{cell.name}.html", shows)))
        return cells

    def _counts(self, counts: FleetCounts, hidden: int) -> str:
        if self._counted is None or self._counted[0] != counts:
            shows = {"counts": counts, "hidden": hidden, "spent": cents(counts.spent_eur)}
            self._counted = (counts, _render("console/wall/counts.html", shows))
        return self._counted[1]


def _render(template: str, shows: Mapping[str, Any]) -> str:
    return SafeString(get_template(template).render(dict(shows)).strip())
