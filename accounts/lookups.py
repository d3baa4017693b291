"""What the ORM is taught about addresses."""

from __future__ import annotations

from typing import Any

from django.db.models import GenericIPAddressField, Lookup


class Within(Lookup):
    """``address__within="192.0.2.0/24"``, for PostgreSQL's ``inet``."""

    lookup_name = "within"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        """``lhs <<= rhs``."""
        lhs, lhs_params = self.process_lhs(compiler, connection)
        rhs, rhs_params = self.process_rhs(compiler, connection)
        return f"{lhs} <<= {rhs}::inet", (*lhs_params, *rhs_params)


def register() -> None:
    """Fields of addresses know them from here on."""
    GenericIPAddressField.register_lookup(Within)
