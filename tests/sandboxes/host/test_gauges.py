"""Reading a cgroup's counters, in each layout that a machine may have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sandboxes.host.cgroups import Cgroups
from sandboxes.host.gauges import Gauges, Reading

V1 = {
    "cpuacct/box/cpuacct.usage": "1234567890\n",
    "memory/box/memory.usage_in_bytes": "5000\n",
    "memory/box/memory.stat": "cache 1\ninactive_file 1\ntotal_inactive_file 2000\n",
}
V2 = {
    "unified/cgroup.controllers": "cpu memory pids\n",
    "unified/box/cpu.stat": "usage_usec 777\nuser_usec 1\n",
    "unified/box/memory.current": "900\n",
    "unified/box/memory.stat": "anon 1\ninactive_file 300\nactive_file 5\n",
}


def cgroups(root: Path, files: Mapping[str, str], *kinds: tuple[str, str]) -> Cgroups:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lines = [f"1 2 0:3 / {root}/{name} rw - {kind} x rw,{name}" for kind, name in kinds]
    return Cgroups("\n".join(lines))


def read(found: Cgroups) -> Reading:
    gauges = Gauges(found.group("/box"))
    try:
        return gauges.read()
    finally:
        gauges.close()


def test_version_1_counts_nanoseconds_and_its_own_hierarchies(tmp_path: Path) -> None:
    kinds = [("cgroup", name) for name in ("cpu", "cpuacct", "freezer", "memory", "pids")]
    assert read(cgroups(tmp_path, V1, *kinds)) == Reading(cpu_us=1_234_567, memory=3000)


def test_version_2_has_it_all_in_one_place(tmp_path: Path) -> None:
    found = cgroups(tmp_path, V2, ("cgroup2", "unified"))
    assert read(found) == Reading(cpu_us=777, memory=600)


def test_a_hybrid_machine_is_read_where_its_controllers_are(tmp_path: Path) -> None:
    files = {**V1, "unified/cgroup.controllers": ""}
    kinds = [("cgroup", name) for name in ("cpu", "cpuacct", "freezer", "memory", "pids")]
    found = cgroups(tmp_path, files, *kinds, ("cgroup2", "unified"))
    assert read(found) == Reading(cpu_us=1_234_567, memory=3000)


def test_a_cache_larger_than_the_usage_leaves_nothing_and_not_less(tmp_path: Path) -> None:
    files = {**V2, "unified/box/memory.current": "100\n"}
    assert read(cgroups(tmp_path, files, ("cgroup2", "unified"))).memory == 0


@pytest.mark.parametrize("missing", sorted(V2)[:-1])
def test_a_group_that_is_gone_is_an_error(tmp_path: Path, missing: str) -> None:
    found = cgroups(tmp_path, V2, ("cgroup2", "unified"))
    (tmp_path / missing).unlink()
    with pytest.raises(OSError, match="No such file"):
        read(found)
