"""What the page of an account's tokens shows: one page of those that fit the address."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import QueryDict

from accounts.models import Token
from accounts.selectors import tokens_page
from console.forms import TokenFilterForm
from console.paging import COUNTED, Narrowing, Paged

PAGE = 50


@dataclass(frozen=True, slots=True)
class TokenFilters(Narrowing):
    """``state`` is one of ``TokenState``; ``q`` a part of a name, or how the token begins."""

    state: str = ""
    q: str = ""
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class TokenList(Paged):
    """One page of the list."""

    nouns = ("token", "tokens")
    filters: TokenFilters
    rows: list[Token]
    total: int
    next_cursor: str | None


def token_filters(query: QueryDict) -> TokenFilters:
    """Read an address. What makes no sense is as good as absent."""
    form = TokenFilterForm(query)
    form.is_valid()
    names = TokenFilterForm.base_fields
    return TokenFilters(**{name: form.cleaned_data.get(name) or "" for name in names})


def token_list(*, account_id: str, filters: TokenFilters) -> TokenList:
    """The tokens that match, newest first."""
    page = tokens_page(
        account_id=account_id,
        state=filters.state,
        text=filters.q,
        before=filters.cursor,
        limit=PAGE,
        count_to=COUNTED,
    )
    return TokenList(filters, page.rows, page.total, page.next_before)
