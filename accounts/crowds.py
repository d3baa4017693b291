"""Which of the requests that wait for an answer is one of the crowd that fills their list.

A stranger has addresses by the network: a whole IPv6 prefix, neighbours of IPv4. Counted from the
widest network down, whoever has the most is found over however many addresses they spread it; who
asks once, from a network that few ask from, is not of the crowd.
"""

from __future__ import annotations

from typing import Final

from django.db.models import Count, F, Func, GenericIPAddressField, QuerySet, Window

from accounts.models import DeviceLogin

#: Bits of IPv4 and of IPv6: what providers are given, what they give a customer, one caller.
_WIDTHS: Final = {"provider": (16, 32), "customer": (24, 48), "caller": (32, 64)}


class _Network(Func):
    """The network of an address; all without one are in the same."""

    output_field = GenericIPAddressField()
    template = (
        "network(set_masklen(%(expressions)s,"
        " CASE family(%(expressions)s) WHEN 4 THEN %(four)s ELSE %(six)s END))"
    )


def most_crowded(waiting: QuerySet[DeviceLogin]) -> QuerySet[DeviceLogin]:
    """Those of the most crowded network first, and of one caller the oldest first."""
    counts = {
        name: Window(Count("*"), partition_by=[_Network(F("address"), four=four, six=six)])
        for name, (four, six) in _WIDTHS.items()
    }
    return waiting.alias(**counts).order_by(*(f"-{name}" for name in counts), "created_at")
