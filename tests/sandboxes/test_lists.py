"""Long lists of sandboxes: what narrows them, and that indexes do the work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from sandboxes.models import Status
from sandboxes.selectors import page_of, sandboxes_of
from tests.cast import Cast
from tests.many import fill_sandboxes

MANY = 4000


@pytest.fixture
def ids(account: Cast, other_account: Cast) -> list[str]:
    fill_sandboxes(other_account.account.id, count=MANY)
    return fill_sandboxes(account.account.id, count=MANY)


def _plan(account: Cast, **narrowed: Any) -> str:
    with connection.cursor() as cursor:
        rows = sandboxes_of(account.account.id, **narrowed)[:51]
        query, values = rows.query.sql_with_params()
        cursor.execute(f"EXPLAIN {query}", values)
        return "\n".join(row[0] for row in cursor.fetchall())


def test_every_filter_finds_what_it_names_by_an_index(account: Cast, ids: list[str]) -> None:
    def found(**narrowed: Any) -> list[str]:
        return [row.id for row in sandboxes_of(account.account.id, **narrowed)]

    newest_first = ids[::-1]
    assert found() == newest_first
    assert "sandbox_newest" in _plan(account)

    assert found(text=ids[7][-9:].lower()) == [ids[7]]
    assert "sandbox_text" in _plan(account, text=ids[7][-9:])
    assert found(text='number": "1234"') == [ids[1234]]
    assert "sandbox_text" in _plan(account, text='number": "1234"')
    assert found(metadata={"number": "1234"}) == [ids[1234]]
    assert "sandbox_metadata" in _plan(account, metadata={"number": "1234"})
    assert found(template="python-3.12") == ids[0::3][::-1]
    assert found(network="restricted") == ids[4::5][::-1]
    # A template or network that hardly any has: found without walking all that have not.
    assert "sandbox_by_template" in _plan(account, template="code-interpreter")
    assert "sandbox_by_network" in _plan(account, network="open")

    since = timezone.now() - timedelta(days=6)
    recent = found(since=since)
    assert 0.09 * MANY < len(recent) < 0.11 * MANY
    assert recent == newest_first[: len(recent)]
    assert "sandbox_newest" in _plan(account, since=since)
    states: list[dict[str, Any]] = [{"statuses": [status.value]} for status in Status]
    for narrowed in ({"text": "sbx_"}, {"template": "node-22"}, {"token_id": "tok_1"}, *states):
        assert "Seq Scan" not in _plan(account, **narrowed)


def test_a_count_stops_where_it_is_told_to(account: Cast, ids: list[str]) -> None:
    rows = sandboxes_of(account.account.id)
    assert page_of(rows, limit=2, cursor=None).total == MANY
    bounded = page_of(rows, limit=2, cursor=None, count_to=1000)
    assert bounded.total == 1001
    assert [row.id for row in bounded.rows] == ids[:-3:-1]
    older = page_of(rows, limit=2, cursor=bounded.next_cursor, count_to=1000)
    assert [row.id for row in older.rows] == ids[-3:-5:-1]
