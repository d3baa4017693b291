"""What a list of sandboxes shows, for its page and for its socket: one place renders both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.http import QueryDict
from django.template.loader import get_template, render_to_string
from django.utils import timezone

from console.forms import FilterForm
from console.lists.row import SHOWN
from console.paging import COUNTED, Narrowing, Paged
from sandboxes.models import LIVE, Sandbox
from sandboxes.selectors import page_of, sandboxes_of

PAGE = 50
#: Characters of a text that an index finds.
SHORTEST = 3
_SINCE = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


@dataclass(frozen=True, slots=True)
class Filters(Narrowing):
    """What the reader narrowed the list by; empty strings where they did not.

    ``q`` is a part of an id or of the metadata, or one ``key=value`` of the metadata, as
    ``metadata`` is.
    """

    status: str = ""
    template: str = ""
    network: str = ""
    token: str = ""
    age: str = ""
    metadata: str = ""
    q: str = ""
    cursor: str = ""

    @property
    def pairs(self) -> dict[str, str]:
        """What the metadata must hold."""
        written = (text.partition("=") for text in (self.metadata, self.q) if "=" in text)
        return {key.strip(): value.strip() for key, _, value in written if key.strip()}

    @property
    def text(self) -> str:
        """What is looked for in ids and metadata."""
        return self.q if "=" not in self.q and len(self.q) >= SHORTEST else ""

    @property
    def since(self) -> datetime | None:
        """When they were made at the earliest."""
        return timezone.now() - _SINCE[self.age] if self.age else None

    @property
    def hint(self) -> str:
        """Why something that was typed narrows nothing."""
        if self.metadata and "=" not in self.metadata:
            return "Write metadata as key=value."
        if self.q and "=" not in self.q and not self.text:
            return f"A search begins at {SHORTEST} characters."
        return ""


def filters_from(query: QueryDict) -> Filters:
    """Read an address. What makes no sense is as good as absent."""
    form = FilterForm(query)
    form.is_valid()
    return Filters(**{name: form.cleaned_data.get(name) or "" for name in FilterForm.base_fields})


def filters_in(query: str) -> Filters:
    """The same of a query string that was sent along, without its page."""
    return replace(filters_from(QueryDict(query[:1000])), cursor="")


@dataclass(frozen=True, slots=True)
class Board(Paged):
    """One page of the list. ``may_act``: the reader can choose rows to do something to."""

    nouns = ("sandbox", "sandboxes")
    may_act: bool
    filters: Filters
    rows: list[Sandbox]
    total: int
    next_cursor: str | None


def board(*, account_id: str, may_act: bool, filters: Filters) -> Board:
    """The sandboxes that match, newest first. Raises ``InvalidRequest`` for a foreign cursor."""
    statuses = LIVE if filters.status == "live" else (filters.status,) if filters.status else ()
    rows = sandboxes_of(
        account_id,
        statuses=[str(status) for status in statuses],
        template=filters.template or None,
        network=filters.network or None,
        token_id=filters.token or None,
        metadata=filters.pairs,
        text=filters.text or None,
        since=filters.since,
    )
    page = page_of(rows.only(*SHOWN), limit=PAGE, cursor=filters.cursor or None, count_to=COUNTED)
    return Board(may_act, filters, page.rows, page.total, page.next_cursor)


def pager_html(board: Board) -> str:
    """What stands below the rows."""
    return str(get_template("console/parts/pager.html").render({"board": board}).strip())


def board_push(board: Board | None, rows: Iterable[str], *, base: str) -> str:
    """The list as htmx takes it from a socket. ``base`` is the reader's address of the console."""
    context = {"board": board, "rows": rows, "push": True, "base": base}
    return render_to_string("console/parts/board.html", context)
