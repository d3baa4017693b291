"""Rows of the benchmark and the page they end on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
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


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, notes below it."""
    lines = [
        "| what | measured | against, in the same run | target | met |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.what, row.measured, row.against, row.target, "yes" if row.met else "no")
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- **{row.what}**: {row.note}" for row in rows if row.note]
    return "\n".join(lines + (["", *notes] if notes else []))


def write_page(path: Path, rows: Sequence[Row]) -> None:
    """Keep the table as a page that says on what, and with which command, it was measured."""
    page = (
        "# Benchmark\n\n"
        "Written by `make bench`; every row and what it is compared with ran in the same run.\n"
        "Shared cores make single figures noisy: read the ratios.\n\n"
        f"Measured on {machine()}.\n\n{table(rows)}\n"
    )
    path.write_text(page, encoding="utf-8")
