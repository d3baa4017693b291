"""console/launch/supervisor.py with small real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.launch import leftovers
from console.launch.layout import Layout
from console.launch.processes import INSTANCE_VARIABLE, Records, identify, is_alive
from console.launch.say import Problem
from console.launch.stopping import Interrupted, Stopping
from console.launch.supervisor import Part, Supervisor
from tests.waiting import until

# Says its pid in a file when it is ready; writes its name to the journal when it ends.
PART = """\
import os, pathlib, signal, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def leave(*_):
    with (folder / "ends").open("a") as ends:
        ends.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
(folder / name).write_text(str(os.getpid()))
print("hello from", name, flush=True)
signal.pause()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    layout = Layout(root=tmp_path, data=tmp_path, templates=tmp_path)
    supervisor = Supervisor(layout, stopping=Stopping())
    yield supervisor
    supervisor.stop_all()


def part_of(
    folder: Path, name: str, *, script: str = PART, is_ready: Callable[[], bool] | None = None
) -> Part:
    return Part(
        name=name,
        argv=[sys.executable, "-c", script, name, str(folder)],
        env={INSTANCE_VARIABLE: Layout(folder, folder, folder).instance},
        as_root=True,
        is_ready=is_ready or (folder / name).exists,
        ready_seconds=20,
    )


def pid_in(file: Path) -> int:
    text = file.read_text() if file.exists() else ""
    return int(text) if text else 0


def test_it_returns_when_a_part_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(part_of(tmp_path, "one"))
    assert identify(pid_in(tmp_path / "one")) == supervisor.running["one"].identity
    until(lambda: "hello from one" in (tmp_path / "log" / "one.log").read_text())


def test_it_says_what_a_part_said_that_ended_at_once(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(Problem, match="no room at the inn"):
        supervisor.start(part_of(tmp_path, "one", script="raise SystemExit('no room at the inn')"))


def test_it_stops_in_the_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(part_of(tmp_path, "one"))
    supervisor.start(part_of(tmp_path, "two"), part_of(tmp_path, "three"))
    supervisor.stop_all()
    assert (tmp_path / "ends").read_text().split() == ["three", "two", "one"]
    assert not list((tmp_path / "run").glob("*.json"))


def test_it_starts_again_what_dies_until_it_is_asked_to_stop(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(part_of(tmp_path, "one"))
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        for _ in range(2):
            first = pid_in(tmp_path / "one")
            os.kill(first, signal.SIGKILL)
            until(lambda first=first: pid_in(tmp_path / "one") not in {0, first})  # type: ignore[misc]
    finally:
        supervisor.stopping._ask(signal.SIGTERM, None)
        watcher.join(timeout=10)
    assert not watcher.is_alive()
    assert is_alive(supervisor.running["one"].identity)


def test_it_gives_up_waiting_when_asked_to_stop(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.stopping._ask(signal.SIGINT, None)
    with pytest.raises(Interrupted):
        supervisor.start(part_of(tmp_path, "one", is_ready=lambda: False))
    assert "one" in supervisor.running


def test_it_finds_and_ends_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.console.launch.test_supervisor import *\n"
        "folder = Path(sys.argv[1]); layout = Layout(folder, folder, folder)\n"
        "Records(layout.pids).save('supervisor', identify(os.getpid()))\n"
        "Supervisor(layout, stopping=Stopping()).start(part_of(folder, 'one'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    left = identify(pid_in(tmp_path / "one"))
    assert left is not None
    assert leftovers.stop(Layout(tmp_path, tmp_path, tmp_path)) == ["one"]
    assert not is_alive(left)
    assert (tmp_path / "ends").read_text().split() == ["one"]
    assert Records(tmp_path / "run").load("one") is None
