from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.timeline.helpers import output, outputs
from timeline import journal as journal_module
from timeline.journal import Journal
from timeline.log import Batch


def numbers(journal: Journal) -> list[int]:
    return [event.data["number"] for event in journal.scan()]


def drain(journal: Journal, *, after: int = 0) -> list[Batch]:
    """Everything behind a position, batch by batch."""
    batches = []
    while batch := journal.read(after=after):
        batches.append(batch)
        after = batch.last
    return batches


def shipped_numbers(batches: list[Batch]) -> list[int]:
    lines = [line for batch in batches for line in batch.lines.split(b"\n")]
    return [orjson.loads(line)["data"].get("number", -1) for line in lines]


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 4096)
    monkeypatch.setattr(journal_module, "RECLAIM_BYTES", 1024)


def test_it_gives_back_what_was_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    events = outputs(1, 20)
    journal.append(events[0])
    journal.append_many(events[1:])
    assert list(journal.scan()) == events


def test_it_goes_on_after_it_was_closed_and_opened(tmp_path: Path) -> None:
    for number in range(1, 6):
        journal = Journal(tmp_path, "sbx_1")
        journal.append(output(number))
        journal.close()
    assert numbers(Journal(tmp_path, "sbx_1")) == [1, 2, 3, 4, 5]
    assert shipped_numbers(drain(Journal(tmp_path, "sbx_1"))) == [1, 2, 3, 4, 5]


def test_positions_only_ever_grow_whoever_opens_it(tmp_path: Path) -> None:
    lasts = []
    for number in range(1, 5):
        journal = Journal(tmp_path, "sbx_1")
        journal.append(output(number))
        lasts.append(journal.last)
    assert lasts == sorted(set(lasts))


def test_a_record_that_was_being_written_when_the_machine_died_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "whole", "sbx_1")
    journal.append_many(outputs(1, 3))
    (file,) = journal.directory.iterdir()
    whole = file.read_bytes()
    end_of_second = len(b"".join(whole.splitlines(keepends=True)[:2]))
    for size in range(end_of_second, len(whole)):
        torn = tmp_path / f"torn{size}"
        (torn / "journal").mkdir(parents=True)
        (torn / "journal" / file.name).write_bytes(whole[:size])
        reopened = Journal(torn, "sbx_1")
        reopened.append(output(4))
        assert numbers(reopened) == [1, 2, 4]
        assert shipped_numbers(drain(reopened)) == [1, 2, 4]


def test_records_after_a_torn_end_get_positions_no_lost_record_ever_had(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    journal.append_many(outputs(1, 100))
    lost = journal.last
    (file,) = journal.directory.iterdir()
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:10]))
    reopened = Journal(tmp_path, "sbx_1")
    reopened.append(output(101))
    assert reopened.last > lost


def test_damage_in_the_middle_is_kept_as_an_unreadable_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    journal.append_many(outputs(1, 3))
    (file,) = journal.directory.iterdir()
    file.write_bytes(file.read_bytes().replace(b"line 2", b"l!ne 2"))
    reopened = Journal(tmp_path, "sbx_1")
    assert [event.kind for event in reopened.scan()] == [
        "command.output",
        "log.unreadable",
        "command.output",
    ]
    assert shipped_numbers(drain(reopened)) == [1, -1, 3]


def test_batches_follow_each_other_and_stay_small(tmp_path: Path, small_segments: None) -> None:
    journal = Journal(tmp_path, "sbx_1")
    journal.append_many(outputs(1, 1300))
    for number in range(1301, 1400):
        journal.append(output(number))
    batches = drain(journal)
    assert shipped_numbers(batches) == list(range(1, 1400))
    assert max(batch.count for batch in batches) <= 512
    assert [batch.before for batch in batches] == [0, *(batch.last for batch in batches[:-1])]


def test_a_batch_of_large_records_ends_at_a_mebibyte(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    for number in range(8):
        journal.append(output(number, text="x" * 300_000))
    assert [batch.count for batch in drain(journal)] == [3, 3, 2]


def test_reading_can_begin_anywhere(tmp_path: Path, small_segments: None) -> None:
    journal = Journal(tmp_path, "sbx_1")
    for number in range(1, 201):
        journal.append(output(number))
    first = journal.last - 199
    for number in (150, 3, 77, 199):
        batches = drain(journal, after=first + number - 1)
        assert shipped_numbers(batches) == list(range(number + 1, 201))


def test_files_go_when_postgresql_has_their_records(tmp_path: Path, small_segments: None) -> None:
    journal = Journal(tmp_path, "sbx_1")
    for number in range(1, 201):
        journal.append(output(number))
    files = len(list(journal.directory.iterdir()))
    first = journal.last - 199
    journal.reclaim(stored=first + 99)
    assert len(list(journal.directory.iterdir())) < files
    assert shipped_numbers(drain(journal, after=journal.stored)) == list(range(101, 201))
    journal.reclaim(stored=journal.last)
    assert sum(file.stat().st_size for file in journal.directory.iterdir()) == 0


def test_a_journal_whose_files_are_gone_still_never_repeats_a_position(
    tmp_path: Path, small_segments: None
) -> None:
    last = 0
    for _ in range(4):
        journal = Journal(tmp_path, "sbx_1")
        for number in range(50):
            journal.append(output(number))
            assert journal.last > last
            last = journal.last
        journal.reclaim(stored=last)
        journal.close()


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from timeline.journal import Journal\n"
        "from tests.timeline.helpers import output\n"
        "journal = Journal(Path(sys.argv[1]), 'sbx_1')\n"
        "written = 0\n"
        "try:\n"
        "    while True: journal.append(output(written + 1)); written += 1\n"
        "except OSError as error: print(written, len(list(journal.scan())))\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        preexec_fn=limit,
        capture_output=True,
        check=True,
    )
    written, scanned = map(int, answer.stdout.split())
    assert written == scanned > 10
    journal = Journal(tmp_path, "sbx_1")
    journal.append(output(written + 1))
    assert numbers(journal) == list(range(1, written + 2))


def test_odd_text_is_kept_as_postgresql_can_take_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    journal.append(output(1, text="a\0b \udc80 \\u0000"))
    journal.append(output(2**70))
    first, second = journal.scan()
    assert first.data["text"] == "a\u2400b ? \\u0000"
    assert second.data["number"] == str(2**70)
