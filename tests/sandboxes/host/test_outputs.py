"""Whole output, read in pieces from anywhere: complete, and without a secret in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandboxes.host.outputs import keep_secrets, read_masked
from sandboxes.host.types import HostError

SECRET = "hunter2-hunter2-hunter2"
OWN = "a-secret-of-the-sandbox"


@dataclass
class Kept:
    """What ``read_masked`` looks at of a sandbox."""

    directory: Path
    own_env: dict[str, str] = field(default_factory=lambda: {"KEY": OWN})
    masking: Sequence[str] = ()


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    (tmp_path / "commands").mkdir()
    return Kept(tmp_path)


def write(box: Kept, data: bytes) -> None:
    (box.directory / "commands" / "cmd_1.out").write_bytes(data)


def read_all(box: Kept, *, limit: int, offset: int = 0) -> bytes:
    whole, piece = b"", None
    while piece is None or piece.data:
        piece = read_masked(box, "cmd_1", offset=offset, limit=limit)  # type: ignore[arg-type]
        whole += piece.data
        offset = piece.next
    assert offset >= piece.size
    return whole


@pytest.mark.parametrize("limit", [1, 7, 64, 1000, 100_000])
def test_pieces_make_up_the_whole_and_hide_secrets_wherever_they_are_cut(
    box: Kept, limit: int
) -> None:
    keep_secrets(box.directory / "commands", "cmd_1", {"TOKEN": SECRET, "MODE": "on"})
    text = f"begin {SECRET} middle {OWN}\n" + "é€😀" * 20 + f" {SECRET}{SECRET} end on\n"
    write(box, text.encode() * 3)
    hidden = text.replace(SECRET, "[masked]").replace(OWN, "[masked]")
    assert read_all(box, limit=limit).decode() == hidden * 3


def test_no_offset_shows_the_rest_of_a_secret(box: Kept) -> None:
    write(box, f"before {OWN} after".encode())
    for offset in range(7 + 1, 7 + len(OWN)):
        assert read_all(box, limit=1000, offset=offset) == b"[masked] after"
    assert read_all(box, limit=1000, offset=7 + len(OWN)) == b" after"
    assert read_all(box, limit=1000, offset=10_000) == b""


def test_a_command_without_variables_leaves_nothing_beside_its_output(box: Kept) -> None:
    keep_secrets(box.directory / "commands", "cmd_1", {"PATH": "/usr/bin:/usr/local/bin"})
    assert list((box.directory / "commands").iterdir()) == []
    keep_secrets(box.directory / "commands", "cmd_1", {"TOKEN": SECRET})
    (kept,) = (box.directory / "commands").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_command_that_was_never_run_is_refused(box: Kept) -> None:
    with pytest.raises(HostError) as told:
        read_masked(box, "cmd_2", offset=0)  # type: ignore[arg-type]
    assert told.value.code == "no_such_command"
