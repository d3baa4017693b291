"""Whose address a request has behind a proxy, and behind what only says that it is one."""

from __future__ import annotations

import pytest

from console.asgi_types import Scope
from console.forwarded import caller, networks

TRUSTED = networks(["127.0.0.1", "10.0.0.0/8", "::1"])


def scope(peer: str, *told: str) -> Scope:
    headers = [(b"x-forwarded-for", text.encode()) for text in told]
    return {"type": "http", "client": (peer, 4711), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("192.0.2.9", ["203.0.113.5"], "192.0.2.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("::1", ["2001:db8::5"], "2001:db8::5"),
        # What the caller itself sent stands further left, and is not believed.
        ("127.0.0.1", ["127.0.0.1, 203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["198.51.100.1", "203.0.113.5, 10.1.2.3"], "203.0.113.5"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.5, nonsense"], "127.0.0.1"),
    ],
)
def test_the_first_address_that_is_not_ours_is_the_callers(
    peer: str, told: list[str], address: str
) -> None:
    found = caller(scope(peer, *told), TRUSTED)
    assert found is not None
    assert found[0] == address


def test_without_proxies_nothing_is_believed() -> None:
    assert caller(scope("127.0.0.1", "203.0.113.5"), []) == ("127.0.0.1", 4711)


def test_a_network_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="everywhere"):
        networks(["everywhere"])
