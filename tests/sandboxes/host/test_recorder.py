"""A command's record is exact though its host dies at any step. No process: only the writing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandboxes.host.agent.frames import Ended
from sandboxes.host.agent.ties import Ties
from sandboxes.host.positions import Position, Positions
from sandboxes.host.recorder import Recorder, seen_in
from sandboxes.host.types import ExecRequest, Stream
from timeline.events import Actor, Kind, NewEvent

ACTOR = Actor("token", id="tok_1", name="ci", prefix="ork_abc")
SECRET = "hunter2hunter2"
ENDED = Ended(3, None, False, 12, 4, 1000)
Feed = Sequence[tuple[Stream, bytes]]


class DiedError(Exception):
    """Stands for SIGKILL."""


@dataclass
class Fate:
    """Dies at one of the steps a recorder takes; each write is a step before and one after."""

    at: int
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise DiedError


class FatedJournal:
    """Keeps its events over deaths, as a file does."""

    def __init__(self) -> None:
        self.kept: list[NewEvent] = []
        self.fate = Fate(0)
        self.torn = False
        self.stored = 0

    def append(self, event: NewEvent) -> None:
        self.append_many([event])

    def append_many(self, events: Sequence[NewEvent]) -> None:
        self.fate.step()
        if self.torn and len(events) > 1:  # killed in the middle of one write
            self.kept.append(events[0])
            self.fate.step()
            self.kept.extend(events[1:])
        else:
            self.kept.extend(events)
        self.fate.step()

    def scan(self) -> Iterator[NewEvent]:
        return iter(self.kept[self.stored :])

    def store(self) -> None:
        """All so far is in the database, and gone from the journal."""
        self.stored = len(self.kept)


@dataclass
class PaperBox:
    directory: Path
    journal: FatedJournal = field(default_factory=FatedJournal)
    sandbox_id: str = "sbx_1"
    agent_socket: Path = Path("/nowhere")
    env: dict[str, str] = field(default_factory=dict)
    own_env: dict[str, str] = field(default_factory=lambda: {"KEY": SECRET})
    masking: Sequence[str] = ()
    pids: int = 10
    memory_mb: int = 10
    ties: Ties = field(default_factory=Ties)


@dataclass
class Life:
    """Plays host again and again until the record of one command is complete."""

    box: PaperBox
    feed: Feed
    limit: int = 1 << 20
    finished: bool = False

    def live(self, chance: random.Random) -> None:
        """One host process: restores or begins, takes output from where it was, ends."""
        positions = Positions(Recorder.directory(self.box))
        recorder = self._recorder(positions)
        if recorder is None:
            return
        recorder.started(7)
        at = 0
        for stream, data in self.feed:
            rest = data[max(0, recorder.offset - at) :]
            at += len(data)
            if rest:
                recorder.gather(stream, rest)
                if chance.random() < 0.4:
                    assert recorder.flush() == at
        recorder.finish(ENDED)
        recorder.close()
        positions.give_back(recorder.position)
        self.finished = True

    def _recorder(self, positions: Positions) -> Recorder | None:
        seen = seen_in(self.box.journal.scan())
        for position in positions.left():
            recorder = Recorder.restore(self.box, position, seen, limit=self.limit)
            if recorder is not None:
                self.box.journal.store()
                self.finished = recorder.is_over
                return None if recorder.is_over else recorder
        if self.box.journal.kept:  # the file was freed, so the end was recorded
            self.finished = True
            return None
        request = ExecRequest("cmd_1", f"echo {SECRET}", env={"OTHER": "x"})
        recorder = Recorder(self.box, positions.take(), request, ACTOR, at=5, limit=self.limit)
        recorder.begin()
        return recorder


@pytest.fixture
def box(tmp_path: Path) -> PaperBox:
    return PaperBox(tmp_path)


@pytest.fixture
def deadly(box: PaperBox, monkeypatch: pytest.MonkeyPatch) -> PaperBox:
    """A box whose fate also counts writes of the position and of the output file."""

    def around(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def fated(*args: Any) -> Any:
            box.journal.fate.step()
            result = real(*args)
            box.journal.fate.step()
            return result

        monkeypatch.setattr(owner, name, fated)

    around(Position, "save")
    around(Recorder, "_keep")
    return box


def outputs(box: PaperBox) -> list[dict[str, Any]]:
    return [event.data for event in box.journal.kept if event.kind == Kind.COMMAND_OUTPUT]


def text_of(box: PaperBox, stream: str) -> str:
    return "".join(data["text"] for data in outputs(box) if data["stream"] == stream)


def raw_of(feed: Feed, stream: str) -> bytes:
    return b"".join(data for name, data in feed if name == stream)


def plain(raw: bytes) -> str:
    masked = raw.replace(SECRET.encode(), b"[masked]")
    return masked.decode("utf-8", "replace").replace("\0", "\u2400")


def assert_exact(box: PaperBox, feed: Feed) -> None:
    kinds = [event.kind for event in box.journal.kept]
    assert kinds.count(Kind.COMMAND_STARTED) == kinds.count(Kind.COMMAND_EXITED) == 1
    assert kinds[0] == Kind.COMMAND_STARTED
    assert kinds[-1] == Kind.COMMAND_EXITED
    for stream in ("stdout", "stderr"):
        assert text_of(box, stream) == plain(raw_of(feed, stream))
        sizes = [data["bytes"] for data in outputs(box) if data["stream"] == stream]
        assert sum(sizes) == len(raw_of(feed, stream))
    whole = b"".join(data for _, data in feed)
    file = Recorder.directory(box) / "cmd_1.out"
    assert (file.read_bytes() if file.exists() else b"") == whole


def random_feed(chance: random.Random) -> Feed:
    pieces = [
        b"line\n",
        SECRET.encode(),
        "é😀".encode(),
        b"\x1b[31m",
        b"\xff",
        b"\0",
        b"hun",
        b"x" * 90,
    ]
    feed: list[tuple[Stream, bytes]] = []
    for _ in range(chance.randrange(1, 9)):
        data = b"".join(chance.choices(pieces, k=chance.randrange(1, 7)))
        feed.append(
            (chance.choice(["stdout", "stderr"]), data[: chance.randrange(1, len(data) + 1)])
        )
    return feed


def test_it_records_start_output_and_end(box: PaperBox) -> None:
    feed: Feed = [("stdout", b"hello "), ("stderr", b"oh"), ("stdout", SECRET.encode())]
    Life(box, feed).live(random.Random(0))
    assert_exact(box, feed)
    started, ended = box.journal.kept[0], box.journal.kept[-1]
    assert started.actor == ended.actor == ACTOR
    assert started.span == ended.span == "cmd_1"
    assert started.data == {
        "command_id": "cmd_1",
        "command": "echo [masked]",
        "cwd": "/workspace",
        "env_names": ["OTHER"],
        "timeout_seconds": 60,
        "background": False,
        "pid": 7,
    }
    assert ended.data == {
        "command_id": "cmd_1",
        "exit_code": 3,
        "signal": None,
        "duration_ms": 12,
        "cpu_ms": 4,
        "peak_memory_bytes": 1000,
        "stdout_bytes": 6 + len(SECRET),
        "stderr_bytes": 2,
        "dropped": 0,
        "timed_out": False,
    }


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_death_at_any_step_loses_and_doubles_nothing(
    deadly: PaperBox, tmp_path: Path, seed: int, *, torn: bool
) -> None:
    feed = random_feed(random.Random(seed))
    for at in range(1, 400):
        box = PaperBox(tmp_path / f"{at}", journal=deadly.journal)
        box.directory.mkdir()
        box.journal.kept, box.journal.stored = [], 0
        box.journal.fate, box.journal.torn = Fate(at), torn
        life = Life(box, feed)
        died = _until_finished(life, box, seed)
        assert_exact(box, feed)
        if not died:
            return
    pytest.fail("a record takes fewer steps than this")


@pytest.mark.parametrize("again", [2, 4, 6, 8, 10, 12])
@pytest.mark.parametrize("seed", [1, 5])
def test_a_second_death_soon_after_the_first_changes_nothing(
    deadly: PaperBox, tmp_path: Path, seed: int, again: int
) -> None:
    feed = [*random_feed(random.Random(seed)), ("stdout", b"hun"), ("stderr", b"\xe2\x82")]
    for at in range(1, 400):
        box = PaperBox(tmp_path / f"{at}", journal=deadly.journal)
        box.directory.mkdir()
        box.journal.kept, box.journal.stored = [], 0
        box.journal.fate, box.journal.torn = Fate(at), True
        life = Life(box, feed)
        died = _until_finished(life, box, seed, again=again)
        assert_exact(box, feed)
        if not died:
            return
    pytest.fail("a record takes fewer steps than this")


def _until_finished(life: Life, box: PaperBox, seed: int, *, again: int = 0) -> bool:
    died = False
    for attempt in range(5):
        try:
            life.live(random.Random(seed * 10 + attempt))
        except DiedError:
            box.journal.fate = Fate(0 if died else again)
            died = True
        if life.finished:
            return died
    pytest.fail("never finished")


@pytest.mark.parametrize("seed", range(6))
def test_many_deaths_in_a_row_lose_and_double_nothing(deadly: PaperBox, seed: int) -> None:
    chance = random.Random(seed)
    feed = [*random_feed(chance), *random_feed(chance)]
    life = Life(deadly, feed)
    deaths = 0
    while not life.finished:
        deadly.journal.fate = Fate(chance.randrange(1, 30 + deaths))
        try:
            life.live(chance)
        except DiedError:
            deaths += 1
    assert_exact(deadly, feed)


def test_beyond_the_limit_it_says_how_much_is_missing(box: PaperBox) -> None:
    feed: Feed = [("stdout", b"a" * 600), ("stderr", b"b" * 600), ("stdout", b"c" * 600)]
    Life(box, feed, limit=1000).live(random.Random(1))
    shown = sum(data["bytes"] for data in outputs(box))
    last = outputs(box)[-1]
    assert shown == 1000
    assert (last["text"], last["bytes"], last["dropped"]) == ("", 0, 800)
    assert box.journal.kept[-1].data["dropped"] == 800
    assert (Recorder.directory(box) / "cmd_1.out").stat().st_size == 1800


def test_a_secret_cut_by_the_limit_is_not_shown_in_part(box: PaperBox) -> None:
    feed: Feed = [("stdout", b"x" * 10 + SECRET.encode())]
    Life(box, feed, limit=20).live(random.Random(1))
    assert text_of(box, "stdout") == "x" * 10
    assert outputs(box)[-1]["dropped"] == len(SECRET)


@pytest.mark.parametrize("seed", range(4))
def test_the_limit_holds_over_deaths(deadly: PaperBox, tmp_path: Path, seed: int) -> None:
    feed: Feed = [("stdout", b"a" * 300), ("stderr", b"b" * 300), ("stdout", b"c" * 600)]
    for at in range(1, 200):
        box = PaperBox(tmp_path / f"{at}", journal=deadly.journal)
        box.directory.mkdir()
        box.journal.kept, box.journal.stored, box.journal.fate = [], 0, Fate(at)
        life = Life(box, feed, limit=500)
        died = _until_finished(life, box, seed)
        told = [data["dropped"] for data in outputs(box) if "dropped" in data]
        assert told == [700]
        assert sum(data["bytes"] for data in outputs(box)) == 500
        if not died:
            return


def test_colours_carry_over_to_the_next_piece(box: PaperBox) -> None:
    recorder = Recorder(
        box, Positions(box.directory).take(), ExecRequest("cmd_1", "x"), ACTOR, at=1
    )
    recorder.begin()
    for data in (b"\x1b[1;31mred", b"still red", b"\x1b[0m", b"plain"):
        recorder.gather("stdout", data)
        recorder.flush()
    assert [data.get("sgr") for data in outputs(box)] == [None, "1;31", "1;31", None]


def test_a_journal_without_space_is_tried_again_and_nothing_is_lost(box: PaperBox) -> None:
    class Full(FatedJournal):
        full = True

        def append_many(self, events: Sequence[NewEvent]) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            super().append_many(events)

    journal = Full()
    box.journal = journal
    recorder = Recorder(
        box, Positions(box.directory).take(), ExecRequest("cmd_1", "x"), ACTOR, at=1
    )
    recorder.begin()
    recorder.gather("stdout", b"one")
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            recorder.flush()
    recorder.gather("stdout", b"two")
    with pytest.raises(OSError, match="No space"):
        recorder.finish(ENDED)
    journal.full = False
    recorder.finish(ENDED)
    assert text_of(box, "stdout") == "onetwo"
    assert [event.kind for event in journal.kept].count(Kind.COMMAND_EXITED) == 1


def test_a_position_file_serves_the_next_command(tmp_path: Path) -> None:
    positions = Positions(tmp_path)
    first = positions.take()
    first.begin({"request": "x" * 9000}, {"offset": 1})
    assert first.load() == ({"request": "x" * 9000}, {"offset": 1})
    positions.give_back(first)
    second = positions.take()
    assert second.path == first.path
    assert second.load() is None
    second.begin({"request": "y"}, {"offset": 2})
    assert second.load() == ({"request": "y"}, {"offset": 2})
