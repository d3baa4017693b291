"""A page of the list as HTML, in rows: a row is rendered again only when what it shows changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.http import QueryDict

from console import boards
from console.lists.row import row_html, row_shows
from sandboxes.models import Sandbox


@dataclass(frozen=True, slots=True)
class View:
    """All that two pages must have in common to be sent the same bytes.

    ``base`` is the address by which the reader has the console, ``query`` their filters.
    """

    account_id: str
    query: str
    may_act: bool
    base: str


@dataclass(frozen=True, slots=True)
class Picture:
    """The list at one moment: its rows and its pager as HTML."""

    version: int = 0
    board: boards.Board | None = None
    rows: Mapping[str, str] = field(default_factory=dict)
    pager: str = ""
    base: str = ""

    def whole(self) -> str:
        """All of it, as htmx takes it."""
        return boards.board_push(self.board, self.rows.values(), base=self.base)

    def frame_since(self, before: Picture) -> str | None:
        """What is different from ``before``; None when nothing is."""
        if not (self.rows and before.rows):
            same = not self.rows and not before.rows and before.board is not None
            return None if same else self.whole()
        new = [one for one in self.rows if one not in before.rows]
        kept = [one for one in before.rows if one in self.rows]
        if [*new, *kept] != list(self.rows):
            return self.whole()
        changed = [self.rows[one] for one in kept if self.rows[one] != before.rows[one]]
        gone = [one for one in before.rows if one not in self.rows]
        parts = [_over(html, "morph") for html in changed]
        parts += [f'<li id="row-{one}" hx-swap-oob="delete"></li>' for one in gone]
        if new:
            html = "".join(self.rows[one] for one in new)
            parts.append(f'<ul hx-swap-oob="afterbegin:#rows">{html}</ul>')
        if self.pager != before.pager:
            parts.append(_over(self.pager, "morph"))
        return "".join(parts) or None


def _over(html: str, how: str) -> str:
    """An element that takes the place of the one with its id."""
    name, _, rest = html.strip().partition(" ")
    return f'{name} hx-swap-oob="{how}" {rest.lstrip()}'


class ListPainter:
    """Keeps one view's picture current; ``paint`` is for one thread at a time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._filters = boards.filters_from(QueryDict(view.query))
        self._known: dict[str, tuple[tuple[object, ...], str]] = {}
        self.picture = Picture()

    def paint(self) -> Picture:
        """Read it and render what changed."""
        view = self._view
        board = boards.board(
            account_id=view.account_id, may_act=view.may_act, filters=self._filters
        )
        self._known = {row.id: self._row(row) for row in board.rows}
        rows = {one: html for one, (_, html) in self._known.items()}
        version = self.picture.version + 1
        self.picture = Picture(version, board, rows, boards.pager_html(board), view.base)
        return self.picture

    def _row(self, sandbox: Sandbox) -> tuple[tuple[object, ...], str]:
        shows = row_shows(sandbox)
        known = self._known.get(sandbox.id)
        if known is not None and known[0] == shows:
            return known
        return shows, row_html(sandbox, may_act=self._view.may_act)
