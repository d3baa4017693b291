"""The page of the benchmark: what a run of all or of some measurements makes of it."""

from __future__ import annotations

from pathlib import Path

from tests.bench.report import Measured, Row, Run, load, page, table, write

ALL = ("exec", "create", "idle")
FIRST = Run("2026-01-02 03:04", "commit aaaaaaa", "2 cores")
SECOND = Run("2026-02-03 04:05", "commit bbbbbbb", "2 cores")


def row(what: str, measured: str = "1 ms", *, note: str = "") -> Row:
    return Row(what, measured, "-", "≤ 2 ms", met=True, note=note)


def whole(run: Run) -> dict[str, Measured]:
    return {name: Measured(run, [row(f"{name} {part}") for part in "ab"]) for name in ALL}


def rows_of(text: str) -> list[str]:
    """The first column."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]]


def test_a_whole_run_says_once_when_and_on_what_it_ran(tmp_path: Path) -> None:
    write(tmp_path, whole(FIRST), names=ALL)
    text = (tmp_path / "bench.md").read_text()
    assert "Measured on 2 cores; 2026-01-02 03:04 UTC, at commit aaaaaaa.\n" in text
    assert rows_of(text) == [f"{name} {part}" for name in ALL for part in "ab"]


def test_some_measurements_replace_their_own_rows_in_their_place(tmp_path: Path) -> None:
    write(tmp_path, whole(FIRST), names=ALL)
    write(tmp_path, {"create": Measured(SECOND, [row("create c", "9 ms")])}, names=ALL)
    text = (tmp_path / "bench.md").read_text()
    assert rows_of(text) == ["exec a", "exec b", "create c", "idle a", "idle b"]
    assert "| create c | 9 ms |" in text
    assert "- 2026-01-02 03:04 UTC, at commit aaaaaaa, on 2 cores: `exec`, `idle`\n" in text
    assert "- 2026-02-03 04:05 UTC, at commit bbbbbbb, on 2 cores: `create`\n" in text


def test_a_next_whole_run_leaves_nothing_of_the_ones_before(tmp_path: Path) -> None:
    write(tmp_path, {**whole(FIRST), "gone": Measured(FIRST, [row("gone")])}, names=(*ALL, "gone"))
    write(tmp_path, {"idle": Measured(SECOND, [row("idle z")])}, names=ALL)
    assert "gone" not in load(tmp_path / "bench.json")
    write(tmp_path, whole(SECOND), names=ALL)
    assert "aaaaaaa" not in (tmp_path / "bench.md").read_text()
    assert load(tmp_path / "bench.json") == whole(SECOND)


def test_notes_stand_below_and_no_text_breaks_the_table() -> None:
    text = table([row("a | b", note="said"), row("c")])
    assert "| a \\| b | 1 ms | - | ≤ 2 ms | yes |" in text
    assert text.endswith("| c | 1 ms | - | ≤ 2 ms | yes |\n\n- **a | b**: said")


def test_the_page_is_what_its_measurements_say() -> None:
    docs = Path(__file__).parents[2] / "docs"
    assert (docs / "bench.md").read_text(encoding="utf-8") == page(load(docs / "bench.json"))


def test_a_run_that_begins_knows_its_commit_and_machine() -> None:
    run = Run.now()
    assert run.commit.startswith(("commit ", "an unknown commit"))
    assert "cores" in run.machine
