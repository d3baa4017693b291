"""What is kept of background commands, on a real disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxes.host import ledger
from sandboxes.host.agent.frames import Ended
from sandboxes.host.ledger import Ledger
from sandboxes.host.types import ExecRequest, HostError


def request(number: int, command: str = "true") -> ExecRequest:
    return ExecRequest(f"cmd_{number:026}", command, background=True)


def ending(exit_code: int | None, signal: int | None = None) -> Ended:
    return Ended(exit_code, signal, False, 12, 3, 4096)


def test_a_new_one_knows_what_the_old_one_wrote(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    for number in range(3):
        first.started(request(number), pid=100 + number, at=number)
    first.ended(request(0).command_id, ending(4))
    first.kill_asked(request(1).command_id)
    first.ended(request(1).command_id, ending(0))
    assert Ledger(tmp_path).all() == first.all()
    found = [(row.status, row.exit_code, row.signal) for row in first.all()]
    assert found == [("exited", 4, None), ("killed", None, 15), ("running", None, None)]


def test_the_first_start_and_the_first_end_are_what_counts(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    for at in (1, 2):
        book.started(request(0), pid=7, at=at)
        book.ended(request(0).command_id, ending(at))
    (row,) = book.all()
    assert (row.started_at, row.exit_code) == (1, 1)


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.started(request(0), pid=7, at=1)
    with (tmp_path / "background").open("ab") as file:
        file.write(b'{"id": "cmd_')
    again = Ledger(tmp_path)
    again.started(request(1), pid=8, at=2)
    assert [row.pid for row in Ledger(tmp_path).all()] == [7, 8]


def test_the_oldest_that_are_over_are_forgotten_with_their_output(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    total = ledger.LISTED + 5
    for number in range(total):
        book.started(request(number), pid=number, at=number)
        (tmp_path / f"{request(number).command_id}.out").write_bytes(b"x")
        if number != 1:
            book.ended(request(number).command_id, ending(0))
    rows = Ledger(tmp_path).all()
    assert rows == book.all()
    assert len(rows) == ledger.LISTED
    assert [row.pid for row in rows[:2]] == [1, 6]  # the second still runs, so it stays
    assert len(list(tmp_path.glob("*.out"))) == ledger.LISTED
    with pytest.raises(HostError) as caught:
        book.find(request(0).command_id)
    assert caught.value.code == "no_such_command"


def test_its_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    for number in range(ledger.LINES):
        book.started(request(number), pid=number, at=number)
        book.ended(request(number).command_id, ending(0))
    lines = (tmp_path / "background").read_bytes().splitlines()
    assert len(lines) <= ledger.LINES + 1
    assert Ledger(tmp_path).all() == book.all()


def test_a_long_command_is_listed_with_its_beginning(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.started(request(0, "true #" + "é" * 100_000), pid=1, at=1)
    assert book.find(request(0).command_id).command == "true #" + "é" * (ledger.SHOWN - 6)


def test_what_cannot_be_written_is_not_listed(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    (tmp_path / "background").mkdir()
    with pytest.raises(OSError, match="directory"):
        book.started(request(0), pid=1, at=1)
    assert book.all() == []
