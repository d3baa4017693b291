"""What the host finds on a machine: cgroups of either version, processes, and what is missing."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from sandboxes.host import checks, disks, process
from sandboxes.host.cgroups import Cgroups, Counters
from sandboxes.host.ids import Ids
from sandboxes.host.places import Places
from sandboxes.host.process import Identity

V1 = """\
30 29 0:26 / {root}/memory rw,relatime - cgroup cgroup rw,memory
31 29 0:27 / {root}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 29 0:28 / {root}/pids rw,relatime - cgroup cgroup rw,pids
34 29 0:30 / {root}/freezer rw,relatime - cgroup cgroup rw,freezer
33 29 0:29 / {root}/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2 = "30 29 0:26 / {root} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


class Sound:
    """A runtime with nothing wrong, or with what it is given."""

    def __init__(self, trouble: str | None = None) -> None:
        self._trouble = trouble

    def trouble(self) -> str | None:
        return self._trouble

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        raise NotImplementedError

    def forget(self, container_id: str) -> None:
        raise NotImplementedError

    def containers(self) -> list[str]:
        raise NotImplementedError

    def init_pid(self, container_id: str) -> int | None:
        raise NotImplementedError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_reads_counters_of_version_1(tmp_path: Path) -> None:
    cgroups = Cgroups(V1.format(root=tmp_path))
    write(
        tmp_path / "memory/a/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    )
    write(tmp_path / "pids/a/b/pids.events", "max 17\n")
    assert (cgroups.unified, cgroups.missing) == (False, [])
    assert cgroups.group("/a/b").counters() == Counters(oom_kills=3, forks_refused=17)


def test_it_reads_counters_of_version_2(tmp_path: Path) -> None:
    write(tmp_path / "cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path / "a/b/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n")
    write(tmp_path / "a/b/pids.events", "max 4\n")
    write(tmp_path / "a/b/memory.swap.max", "max\n")
    cgroups = Cgroups(V2.format(root=tmp_path))
    assert (cgroups.unified, cgroups.missing) == (True, [])
    assert cgroups.group("a/b").counters() == Counters(oom_kills=1, forks_refused=4)


def test_version_2_hands_what_limits_sandboxes_down_to_them(tmp_path: Path) -> None:
    """As on a machine without systemd, where nothing has been handed down yet."""
    write(tmp_path / "cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path / "cgroup.subtree_control", "io\n")
    write(tmp_path / "host/cgroup.subtree_control", "\n")
    cgroups = Cgroups(V2.format(root=tmp_path))
    cgroups.prepare("/host")
    for folder in (tmp_path, tmp_path / "host"):
        assert (folder / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert not cgroups.limits_swap("/host")
    write(tmp_path / "host/memory.swap.max", "max\n")
    assert cgroups.limits_swap("/host")


def test_version_2_leaves_alone_what_is_handed_down(tmp_path: Path) -> None:
    write(tmp_path / "cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path / "cgroup.subtree_control", "cpu memory pids\n")
    assert Cgroups(V2.format(root=tmp_path)).trouble() is None
    assert (tmp_path / "cgroup.subtree_control").read_text() == "cpu memory pids\n"


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EBUSY, "processes of its own"), (errno.EROFS, "Read-only")]
)
def test_controllers_that_cannot_be_handed_down_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    write(tmp_path / "cgroup.controllers", "cpu memory pids\n")
    write(tmp_path / "cgroup.subtree_control", "\n")

    def refused(path: Path, text: str) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_text", refused)
    trouble = Cgroups(V2.format(root=tmp_path)).trouble()
    assert trouble is not None
    assert words in trouble
    assert trouble.endswith(".")


def test_it_says_which_controllers_are_missing(tmp_path: Path) -> None:
    write(tmp_path / "cgroup.controllers", "cpu io\n")
    assert Cgroups(V2.format(root=tmp_path)).missing == ["memory", "pids"]


def test_counters_of_a_group_that_is_gone_are_zero(tmp_path: Path) -> None:
    group = Cgroups(V1.format(root=tmp_path)).group("/gone")
    assert group.counters() == Counters(0, 0)
    assert group.processes() == []
    assert group.children() == set()
    assert group.remove()


def test_this_machine_has_what_sandboxes_need() -> None:
    assert Cgroups().missing == []


def test_a_process_is_told_from_a_later_one_with_its_id() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        identity = Identity.of(sleeper.pid)
        fd = process.watch(identity)
        assert fd is not None
        earlier = Identity(identity.pid, identity.started - 1, identity.boot)
        assert process.watch(earlier) is None
        assert process.watch(Identity(identity.pid, identity.started, "another boot")) is None
        assert not process.ended(fd)
        process.kill(fd)
        assert process.ended(fd, wait_seconds=10)
        assert process.reap(fd) == "signal 9"
        assert process.reap(fd) == ""
        os.close(fd)
        assert process.watch(identity) is None


def test_ids_are_never_given_twice_and_stay_in_range() -> None:
    ids = Ids(offset=16380)
    ids.claim(1)
    taken = [ids.take() for _ in range(5)]
    assert taken == [0, 2, 3, 4, 5]
    bases = [ids.base(index) for index in (1, *taken)]
    assert len(set(bases)) == 6
    assert all(1 << 30 <= base <= (1 << 31) - 65536 for base in bases)
    ids.release(3)
    assert ids.take() == 3


def test_a_clone_of_a_disk_is_the_same_and_as_sparse(tmp_path: Path) -> None:
    blank = disks.blank(tmp_path / "blanks", size_mb=256)
    assert disks.blank(tmp_path / "blanks", size_mb=256) == blank
    disks.clone(blank, tmp_path / "clone")
    assert (tmp_path / "clone").read_bytes() == blank.read_bytes()
    assert (tmp_path / "clone").stat().st_blocks * 512 < 2 * disks.MIB
    assert sorted(path.name for path in (tmp_path / "blanks").iterdir()) == [blank.name]


def test_kernel_releases_are_compared_as_numbers() -> None:
    assert checks.kernel_version("6.1.0-13-amd64") > checks.kernel_version("5.19-rc1")
    assert checks.kernel_version("5.4.0-generic") < (5, 19)
    assert checks.kernel_version("strange") == (0, 0)


def found(tmp_path: Path, **changes: object) -> list[str]:
    given: dict[str, object] = {
        "directory": tmp_path / "host",
        "templates": tmp_path,
        "runtime": Sound(),
        "cgroups": Cgroups(),
        **changes,
    }
    places = Places.of(given.pop("directory"))  # type: ignore[arg-type]
    return checks.troubles(places, **given)  # type: ignore[arg-type]


def test_nothing_is_wrong_with_a_machine_that_can(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_every_lack_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda tool: None)
    monkeypatch.setattr(checks, "MIN_FREE_BYTES", 1 << 60)
    monkeypatch.setattr(checks, "_KERNEL", (99, 0))
    sentences = found(
        tmp_path,
        directory=tmp_path / ("long" * 30),
        templates=tmp_path / "missing",
        runtime=Sound("runc is not installed."),
        cgroups=Cgroups(V2.format(root=tmp_path)),
    )
    assert len(sentences) == 9
    assert all(sentence.endswith(".") for sentence in sentences)
    for word in (
        "Kernel",
        "runc",
        "controllers memory, cpu, pids",
        "mkfs.ext4",
        "e2fsck",
        "unshare",
    ):
        assert [sentence for sentence in sentences if word in sentence], word


def test_only_root_can_be_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert found(tmp_path) == [
        "The sandbox host must run as root: it makes namespaces, mounts and cgroups."
    ]
