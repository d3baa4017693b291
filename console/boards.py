"""What a list of sandboxes shows, for its page and for its socket: one place renders both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from urllib.parse import urlencode

from django.http import QueryDict
from django.template.loader import render_to_string

from accounts.policy import Principal
from console.forms import FilterForm
from sandboxes.models import LIVE, Sandbox
from sandboxes.selectors import page_of, sandboxes_of

PAGE = 50


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader narrowed the list by; empty strings where they did not.

    ``q`` is a part of an id or of the metadata, or one ``key=value`` of the metadata.
    """

    status: str = ""
    template: str = ""
    q: str = ""
    cursor: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether rows may have been left out."""
        return bool(self.status or self.template or self.q)

    @property
    def query(self) -> str:
        """As it stands in the address."""
        return urlencode({name: value for name, value in asdict(self).items() if value})

    @property
    def first_query(self) -> str:
        """The address of the newest page."""
        return replace(self, cursor="").query


def filters_from(query: QueryDict) -> Filters:
    """Read an address. What makes no sense is as good as absent."""
    form = FilterForm(query)
    form.is_valid()
    return Filters(**{name: form.cleaned_data.get(name) or "" for name in FilterForm.base_fields})


@dataclass(frozen=True, slots=True)
class Board:
    """One page of the list."""

    principal: Principal
    filters: Filters
    rows: list[Sandbox]
    total: int
    next_cursor: str | None

    @property
    def next_query(self) -> str:
        """The address of the page of older ones."""
        return replace(self.filters, cursor=self.next_cursor or "").query


def board(*, principal: Principal, filters: Filters) -> Board:
    """The sandboxes that match, newest first. Raises ``InvalidRequest`` for a foreign cursor."""
    statuses = LIVE if filters.status == "live" else (filters.status,) if filters.status else ()
    key, equals, value = filters.q.partition("=")
    rows = sandboxes_of(
        principal.account_id,
        statuses=[str(status) for status in statuses],
        template=filters.template or None,
        metadata={key.strip(): value.strip()} if equals else None,
        text=None if equals else filters.q or None,
    )
    page = page_of(rows, limit=PAGE, cursor=filters.cursor or None)
    return Board(principal, filters, page.rows, page.total, page.next_cursor)


def board_push(*, principal: Principal, filters: Filters, base: str) -> str:
    """The list as htmx takes it from a socket. ``base`` is the reader's address of the console."""
    context = {"board": board(principal=principal, filters=filters), "push": True, "base": base}
    return render_to_string("console/parts/board.html", context)
