"""Rows of the benchmark, and the page they end on.

``docs/bench.json`` keeps what each measurement gave when it last ran; ``docs/bench.md`` is made of
it. So a run of a few measurements replaces theirs, and the page says which rows are of which run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table. ``measured`` and ``against`` are already written for a reader."""

    what: str
    measured: str
    against: str
    target: str
    met: bool
    note: str = ""


@dataclass(frozen=True)
class Run:
    """When, at which commit and on what a few measurements ran one after another."""

    began: str
    commit: str
    machine: str

    @classmethod
    def now(cls) -> Run:
        """One that begins."""
        return cls(datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), _commit(), machine())

    def __str__(self) -> str:
        return f"{self.began} UTC, at {self.commit}"


@dataclass(frozen=True)
class Measured:
    """What one measurement gave, and in which run."""

    run: Run
    rows: list[Row]


Kept = Mapping[str, Measured]
"""By the measurement's name."""


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample below which ``share`` (0…1) of all lie: the nearest rank, no interpolation."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(samples: Sequence[float]) -> str:
    """Median and p99 of samples in seconds, written in milliseconds."""
    return (
        f"p50 {statistics.median(samples) * 1e3:.1f} ms, p99 {quantile(samples, 0.99) * 1e3:.1f} ms"
    )


def machine() -> str:
    """What the figures were taken on: cores, memory, kernel, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _commit() -> str:
    """What is checked out, and whether it was changed since; a copy without a history has none."""
    asked = ["git", "describe", "--always", "--dirty=, changed", "--exclude=*"]
    try:
        done = subprocess.run(asked, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"
    return f"commit {done.stdout.strip()}"


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, notes below it."""
    lines = [
        "| what | measured | against, in the same run | target | met |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.what, row.measured, row.against, row.target, "yes" if row.met else "no")
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    notes = [f"- **{row.what}**: {row.note}" for row in rows if row.note]
    return "\n".join(lines + (["", *notes] if notes else []))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def merged(kept: Kept, fresh: Kept, *, names: Iterable[str]) -> dict[str, Measured]:
    """``fresh`` in place of what is ``kept`` under the same names, in the order of ``names``.

    What is kept of a measurement that there is no more is left out.
    """
    found = {**kept, **fresh}
    return {name: found[name] for name in names if name in found}


def page(kept: Kept) -> str:
    """All that is kept, as a page that says when, on what and with which command it ran."""
    rows = [row for one in kept.values() for row in one.rows]
    return (
        "# Benchmark\n\n"
        "Written by `make bench`; every row and what it is compared with ran in the same run.\n"
        "Shared cores make single figures noisy: read the ratios.\n\n"
        f"{_measured(kept)}\n\n{table(rows)}\n"
    )


def _measured(kept: Kept) -> str:
    """Where and when: a line for all, or one for each run with its measurements."""
    runs: dict[Run, list[str]] = {}
    for name, one in kept.items():
        runs.setdefault(one.run, []).append(name)
    if len(runs) == 1:
        (run,) = runs
        return f"Measured on {run.machine}; {run}."
    lines = [
        f"- {run}, on {run.machine}: {', '.join(f'`{name}`' for name in names)}"
        for run, names in sorted(runs.items(), key=lambda item: item[0].began)
    ]
    again = "Its rows come from several runs (`make bench ARGS=name` repeats one measurement):"
    return "\n".join([again, "", *lines])


def load(path: Path) -> dict[str, Measured]:
    """What ``save`` wrote; nothing where there is no file."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Measured(Run(**one["run"]), [Row(**row) for row in one["rows"]])
        for name, one in found.items()
    }


def save(path: Path, kept: Kept) -> None:
    """Keep it for the next run."""
    plain = {name: asdict(one) for name, one in kept.items()}
    path.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write(folder: Path, fresh: Kept, *, names: Iterable[str]) -> None:
    """Put ``fresh`` into ``bench.json`` and ``bench.md`` of ``folder``."""
    kept = merged(load(folder / "bench.json"), fresh, names=names)
    save(folder / "bench.json", kept)
    (folder / "bench.md").write_text(page(kept), encoding="utf-8")
