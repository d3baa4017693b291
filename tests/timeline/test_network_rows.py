"""How a timeline shows what was connected, and what was not."""

from __future__ import annotations

from typing import Any

from timeline.events import Actor, Event, Kind
from timeline.render import render_row

WHERE = {"host": "files.example.org", "port": 443}


def row(kind: Kind, **data: Any) -> str:
    actor = Actor("policy", name="egress")
    return " ".join(render_row(Event("sbx_1", 7, 1, kind, actor, None, data)).split())


def test_a_connection_shows_where_to_how_much_and_how_long() -> None:
    numbers = {"bytes_up": 512, "bytes_down": 2048, "duration_ms": 1500}
    shown = row(Kind.NETWORK_ALLOWED, **WHERE, **numbers, reason="ended")
    assert "<b>Connected</b> to <code>files.example.org:443</code>" in shown
    assert "512 B up, 2.0 KB down, 1.5 s</span>" in shown


def test_a_connection_that_did_not_end_by_itself_says_why() -> None:
    shown = row(Kind.NETWORK_ALLOWED, **WHERE, bytes_up=5, reason="idle_timeout")
    assert "<b>Connected</b> to" in shown
    assert ", idle timeout</span>" in shown


def test_a_host_that_did_not_answer_was_not_reached() -> None:
    shown = row(Kind.NETWORK_ALLOWED, **WHERE, bytes_up=0, bytes_down=0, reason="unresolvable")
    assert "<b>Not reached</b> <code>files.example.org:443</code>" in shown
    assert ", unresolvable</span>" in shown


def test_many_in_quick_succession_are_one_row() -> None:
    shown = row(Kind.NETWORK_ALLOWED, host="", port=0, reason="repeated", left_out=40)
    assert "<b>Connected</b> 40 more times in quick succession" in shown
    shown = row(Kind.NETWORK_DENIED, host="", port=0, detail="40 more were refused.", left_out=40)
    assert '<b>Denied</b> <span class="row-more">40 more were refused.</span>' in shown


def test_a_denied_one_says_what_to_allow() -> None:
    detail = "files.example.org is not allowed. To reach it, allow the domain files.example.org."
    shown = row(Kind.NETWORK_DENIED, **WHERE, detail=detail, allow="files.example.org")
    assert "<b>Denied</b> <code>files.example.org:443</code>" in shown
    assert "allow the domain files.example.org." in shown
