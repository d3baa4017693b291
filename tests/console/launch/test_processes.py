"""console/launch/processes.py: nobody is ended by mistake."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from console.launch.processes import (
    INSTANCE_VARIABLE,
    Identity,
    Records,
    age_seconds,
    end,
    end_group,
    identify,
    is_alive,
)
from tests.waiting import until

# Even where this run itself was started with interrupts ignored, as in a shell's background.
INTERRUPTIBLE = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("on", flush=True)
time.sleep(60)
"""


@contextmanager
def child(*argv: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def known(process: subprocess.Popen[str]) -> Identity:
    identity = identify(process.pid)
    assert identity is not None
    return identity


def test_it_ends_a_process_with_the_signal_asked_for() -> None:
    with child(sys.executable, "-c", INTERRUPTIBLE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end(known(process), stop_signal=signal.SIGINT, seconds=10)
        assert process.wait(timeout=5) == -signal.SIGINT


def test_it_kills_a_process_that_does_not_want_to_end() -> None:
    with child(sys.executable, "-c", STUBBORN) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end(known(process), stop_signal=signal.SIGTERM, seconds=0.1)
        assert process.wait(timeout=5) == -signal.SIGKILL


def test_it_leaves_a_process_alone_that_got_a_dead_ones_pid() -> None:
    with child("sleep", "60") as process:
        before = replace(known(process), started=1)
        assert not is_alive(before)
        end(before, stop_signal=signal.SIGKILL, seconds=5)
        assert process.poll() is None


def test_it_takes_a_record_of_an_earlier_boot_for_dead() -> None:
    with child("sleep", "60") as process:
        assert not is_alive(replace(known(process), boot="another"))


def test_it_takes_a_zombie_for_dead() -> None:
    with child("true") as process:
        until(lambda: identify(process.pid) is None)
        assert process.poll() == 0


def test_it_ends_only_marked_members_of_a_group() -> None:
    script = "sleep 60 & env -u ORKESTR_INSTANCE sleep 61 & echo $!; wait"
    env = {"PATH": "/usr/bin:/bin", INSTANCE_VARIABLE: "mark"}
    with child("sh", "-c", script, env=env, start_new_session=True) as leader:
        assert leader.stdout is not None
        stranger = identify(int(leader.stdout.readline()))
        assert stranger is not None
        end_group(known(leader), instance="other-mark")
        assert leader.poll() is None
        end_group(known(leader), instance="mark")
        assert leader.wait(timeout=5) == -signal.SIGKILL
        assert is_alive(stranger)
        end(stranger, stop_signal=signal.SIGKILL, seconds=5)


def test_it_keeps_records_of_the_living(tmp_path: Path) -> None:
    records = Records(tmp_path / "run")
    with child("sleep", "60") as process:
        records.save("part", known(process))
        assert Records(tmp_path / "run").living("part") == known(process)
        assert age_seconds(known(process)) < 60
    assert records.living("part") is None
    records.forget("part")
    assert records.load("part") is None


def test_it_reads_a_torn_record_as_none(tmp_path: Path) -> None:
    (tmp_path / "part.json").write_text('{"pid": 1')
    assert Records(tmp_path).load("part") is None
