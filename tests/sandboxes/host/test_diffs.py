"""What a write changed: correct for any bytes, masked, and within its bounds."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandboxes.host.diffs import DIFF_LIMIT, LINE_LIMIT, TEXT_LIMIT, Before, change
from sandboxes.host.files import Files
from sandboxes.host.masking import Masker
from sandboxes.host.types import HostError, version
from tests.sandboxes.host.plain import BUILDS, PlainBox, plain_box, soon
from timeline.events import Actor, Kind

ACTOR = Actor("person", id="7", name="Operator")
PLAIN = Masker([])
SECRET = "hunter2hunter2"


def told(before: bytes | None, after: bytes, masker: Masker = PLAIN) -> dict[str, Any]:
    return change(Before(before is not None, before), after, masker)


def patched(folder: Path, before: bytes, diff: str) -> bytes:
    """What the distribution's ``patch`` makes of it."""
    file = folder / "file"
    file.write_bytes(before)
    if diff:
        text = f"--- file\n+++ file\n{diff}\n".encode()
        command = ["patch", "--quiet", "--no-backup-if-mismatch", str(file)]
        subprocess.run(command, input=text, check=True, capture_output=True)
    return file.read_bytes()


# ---- the diff itself ---------------------------------------------------------------------------


def test_a_change_is_shown_with_what_is_around_it() -> None:
    before = b"".join(b"line %d\n" % n for n in range(1, 31))
    found = told(before, before.replace(b"line 9\n", b"line nine\n").replace(b"line 30\n", b""))
    assert found == {
        "added": 1,
        "removed": 2,
        "diff": "@@ -6,7 +6,7 @@\n line 6\n line 7\n line 8\n-line 9\n+line nine\n line 10\n"
        " line 11\n line 12\n@@ -27,4 +27,3 @@\n line 27\n line 28\n line 29\n-line 30",
    }


def test_what_the_ends_of_files_are_like_is_told() -> None:
    assert told(None, b"a\n") == {
        "created": True, "diff": "@@ -0,0 +1 @@\n+a", "added": 1, "removed": 0,
    }  # fmt: skip
    assert told(None, b"")["diff"] == ""
    assert told(b"a\n", b"a\n") == {"diff": "", "added": 0, "removed": 0}
    assert told(b"a", b"a\n")["diff"] == "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a"
    assert told(b"a\r\n", b"a\n")["diff"] == "@@ -1 +1 @@\n-a\r\n+a"


def test_any_text_is_patched_into_the_other_by_its_diff(tmp_path: Path) -> None:
    chance = random.Random(7)
    for _ in range(150):
        words = [b"a", b"b", b"", b"   x", b"\xc3\xbc", b"+ plus", b"- minus"]
        one = b"\n".join(chance.choices(words, k=chance.randrange(30)))
        lines = one.split(b"\n")
        for _ in range(chance.randrange(5)):
            at = chance.randrange(len(lines) + 1)
            lines[at : at + chance.randrange(3)] = chance.choices(words, k=chance.randrange(3))
        two = b"\n".join(lines)
        if one and two:  # ``patch`` removes a file that it leaves empty
            assert patched(tmp_path, one, told(one, two)["diff"]) == two, (one, two)


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe", "ü".encode()[:1]])
def test_what_is_no_text_is_called_binary(content: bytes) -> None:
    assert told(b"a", content) == {"no_diff": "binary"}
    assert told(content, b"a") == {"no_diff": "binary"}
    assert told(None, content) == {"created": True, "no_diff": "binary"}


def test_what_is_too_large_is_called_so() -> None:
    large = {"no_diff": "too_large"}
    assert told(b"a", b"a" * (TEXT_LIMIT + 1)) == large
    assert change(Before(True, None), b"a", PLAIN) == large
    assert change(Before(True, b"a"), None, PLAIN) == large
    assert "diff" in told(b"a", b"a" * TEXT_LIMIT)


def test_a_diff_is_bounded_and_says_what_it_leaves_out() -> None:
    found = told(b"old old\n" * 7000, b"new new\n" * 8000)
    assert len(found["diff"].encode()) <= DIFF_LIMIT
    shown = found["diff"].split("\n")
    assert len(shown) + found["diff_left_out"] == 1 + 7000 + 8000
    assert (found["added"], found["removed"]) == (8000, 7000)
    long = told(None, b"x" * TEXT_LIMIT)["diff"]
    assert f"({TEXT_LIMIT - LINE_LIMIT + 1:,} more characters)" in long
    assert len(long) < LINE_LIMIT + 100


def test_secrets_are_masked_before_anything_is_cut() -> None:
    masker = Masker([SECRET.encode()])
    line = "x" * (LINE_LIMIT - 5) + SECRET
    found = told(f"key={SECRET}\n".encode(), line.encode(), masker)
    assert "hunter" not in found["diff"]
    assert "-key=[masked]" in found["diff"]


@pytest.mark.parametrize("alphabet", [1, 2, 100, 1_000_000])
@pytest.mark.timeout(20)
def test_no_text_takes_long(alphabet: int) -> None:
    chance = random.Random(alphabet)

    def text() -> bytes:
        lines = (b"%x\n" % chance.randrange(alphabet) for _ in range(TEXT_LIMIT))
        return b"".join(lines)[:TEXT_LIMIT]

    for _ in range(20):
        told(text(), text())


# ---- as it is written --------------------------------------------------------------------------


@pytest.fixture(params=BUILDS)
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlainBox]:
    with plain_box(tmp_path, build_as=request.param, own_env={"KEY": SECRET}) as box:
        yield box


@pytest.fixture
def files(box: PlainBox) -> Files:
    return Files(box, writable=[str(box.cwd)])


def written(box: PlainBox) -> list[dict[str, Any]]:
    """What the journal has of each write, without what every event of one has."""
    events = [event for event in box.journal.scan() if event.kind == Kind.FILE_WRITTEN]
    usual = {"path", "size", "mode"}
    return [
        {name: value for name, value in event.data.items() if name not in usual} for event in events
    ]


async def test_every_write_tells_its_diff(box: PlainBox, files: Files) -> None:
    path = str(box.cwd / "notes.txt")
    await files.write(path, b"one\ntwo\n", actor=ACTOR)
    (box.cwd / "notes.txt").write_text("one\ntwo\nby a command\n")
    await files.write(path, f"one\n{SECRET}\n".encode(), actor=ACTOR)
    await files.write(path, b"\0", actor=ACTOR)
    assert written(box) == [
        {"created": True, "diff": "@@ -0,0 +1,2 @@\n+one\n+two", "added": 2, "removed": 0},
        {
            "diff": "@@ -1,3 +1,2 @@\n one\n-two\n-by a command\n+[masked]",
            "added": 1,
            "removed": 2,
        },
        {"no_diff": "binary"},
    ]


async def test_what_is_sent_in_pieces_tells_the_same(box: PlainBox, files: Files) -> None:
    path = str(box.cwd / "notes.txt")
    for content in (b"one\n", b"one\ntwo\n", bytes(TEXT_LIMIT + 1)):
        async with files.writing(path, size=len(content), actor=ACTOR) as upload:
            for start in range(0, len(content), 3000):
                await upload.put(content[start : start + 3000])
            await upload.finish()
    await files.write(path, b"small again", actor=ACTOR)
    assert [event.get("diff", event.get("no_diff")) for event in written(box)] == [
        "@@ -0,0 +1 @@\n+one",
        "@@ -1 +1,2 @@\n one\n+two",
        "too_large",
        "too_large",
    ]


async def test_a_link_is_compared_where_it_leads_and_nothing_else_is_opened(
    box: PlainBox, files: Files
) -> None:
    (box.cwd / "real").write_text("real\n")
    (box.cwd / "link").symlink_to("real")
    (box.cwd / "dangling").symlink_to("nowhere")
    await files.write(str(box.cwd / "link"), b"new\n", actor=ACTOR)
    await files.write(str(box.cwd / "dangling"), b"new\n", actor=ACTOR)
    assert [event["diff"] for event in written(box)] == [
        "@@ -1 +1 @@\n-real\n+new",
        "@@ -0,0 +1 @@\n+new",
    ]


# ---- what may be replaced ----------------------------------------------------------------------


async def test_a_write_stands_only_in_place_of_what_it_was_made_from(
    box: PlainBox, files: Files
) -> None:
    path = box.cwd / "a"
    await files.write(str(path), b"one", replacing="", actor=ACTOR)
    stat = await files.stat(str(path))
    known = version(stat.size, stat.modified_at)
    await files.write(str(path), b"two", replacing=known, actor=ACTOR)
    for replacing in (known, "", "nonsense"):
        with pytest.raises(HostError) as error:
            await files.write(str(path), b"lost", replacing=replacing, actor=ACTOR)
        assert error.value.code == "file_changed"
    assert path.read_bytes() == b"two"
    assert len(written(box)) == 2

    async def only_the_file_is_left() -> bool:
        return [entry.name for entry in box.cwd.iterdir()] == ["a"]

    await soon(only_the_file_is_left)


async def test_of_many_writes_in_place_of_one_state_only_one_is_made(
    box: PlainBox, files: Files
) -> None:
    """They all begin before any of them ends, so each was told the same."""
    path = str(box.cwd / "a")
    await files.write(path, b"start", actor=ACTOR)
    stat = await files.stat(path)
    known = version(stat.size, stat.modified_at)

    async def one(number: int) -> bool:
        try:
            await files.write(path, b"%d" % number, replacing=known, actor=ACTOR)
        except HostError as error:
            assert error.code == "file_changed"
            return False
        return True

    assert sum(await asyncio.gather(*map(one, range(8)))) == 1
