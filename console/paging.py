"""What every paged list has in its address and below its rows (``parts/pager.html``)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlencode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: No more than these are counted, however many match.
COUNTED = 1000


class Narrowing:
    """Base of a frozen dataclass: what the reader narrowed a list by, empty where they did not."""

    __slots__ = ()
    cursor: str
    """Where the page begins; not of what narrows."""

    @property
    def narrowed(self) -> bool:
        """Whether rows may have been left out."""
        return bool(self.first_query)

    @property
    def query(self) -> str:
        """As it stands in the address."""
        return self.query_at(self.cursor)

    @property
    def first_query(self) -> str:
        """The address of the newest page."""
        return self.query_at("")

    def query_at(self, cursor: str) -> str:
        """The address of another page."""
        values = asdict(cast("DataclassInstance", self)) | {"cursor": cursor}
        return urlencode({name: value for name, value in values.items() if value})


class Paged:
    """Base of a frozen dataclass: one page of a list."""

    __slots__ = ()
    nouns: ClassVar[tuple[str, str]]
    """Of one row, and of several."""
    filters: Any
    total: int
    next_cursor: str | None

    @property
    def counted(self) -> str:
        """How many match, in words."""
        if self.total > COUNTED:
            return f"More than {COUNTED:,} {self.nouns[1]}".replace(",", " ")
        return f"{self.total} {self.nouns[self.total != 1]}"

    @property
    def next_query(self) -> str:
        """The address of the page of older ones."""
        query: str = self.filters.query_at(self.next_cursor or "")
        return query
