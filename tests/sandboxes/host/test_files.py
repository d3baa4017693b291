"""Files through a real agent: what works, and what must neither hang nor lead astray."""

from __future__ import annotations

import asyncio
import os
import socket
import stat as modes
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandboxes.host.agent.frames import Answer, Ask, text, texts
from sandboxes.host.agent.link import Link
from sandboxes.host.files import Files
from sandboxes.host.types import FILE_LIMIT, Directory, FileContent, HostError
from tests.sandboxes.host.plain import BUILDS, PlainBox, false_agent, frame, plain_box, soon
from timeline.events import Actor, Kind
from timeline.journal import Journal

ACTOR = Actor("token", id="tok_1", name="ci", prefix="ork_abcd")


@pytest.fixture(params=BUILDS)
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlainBox]:
    own_env = {"KEY": "hunter2hunter2"}
    with plain_box(tmp_path, build_as=request.param, own_env=own_env) as box:
        yield box


@pytest.fixture
def files(box: PlainBox) -> Files:
    return Files(box, writable=[str(box.cwd)])


async def content(files: Files, path: Path | str) -> bytes:
    found = await files.read(str(path), actor=ACTOR)
    assert isinstance(found, FileContent)
    return found.content


async def write(files: Files, path: Path | str, data: bytes = b"x", *, mode: int = 0o644) -> int:
    return await files.write(str(path), data, mode=mode, actor=ACTOR)


@contextmanager
def disk(at: Path, options: str = "size=1m") -> Iterator[Path]:
    """A small disk of its own, mounted there."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


# ---- what works --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32768, 32769, 1_000_000])
async def test_what_is_written_is_read(box: PlainBox, files: Files, size: int) -> None:
    data = os.urandom(size)
    assert await write(files, box.cwd / "a.bin", data, mode=0o640) == size
    found = await files.read(str(box.cwd / "a.bin"), actor=ACTOR)
    assert isinstance(found, FileContent)
    assert (found.content, found.size, found.mode) == (data, size, 0o640)
    assert abs(found.modified_at - (box.cwd / "a.bin").stat().st_mtime) < 0.001


async def test_the_largest_file_goes_and_one_byte_more_does_not(
    box: PlainBox, files: Files
) -> None:
    path = box.cwd / "large"
    assert await write(files, path, bytes(FILE_LIMIT)) == FILE_LIMIT
    assert len(await content(files, path)) == FILE_LIMIT
    with pytest.raises(HostError) as error:
        await write(files, path, bytes(FILE_LIMIT + 1))
    assert error.value.code == "too_large"
    with path.open("ab") as file:
        file.write(b"1")
    with pytest.raises(HostError) as error:
        await content(files, path)
    assert error.value.code == "too_large"
    assert "presigned" in error.value.message


async def test_parents_are_made(box: PlainBox, files: Files) -> None:
    await write(files, box.cwd / "a/b/c/d.txt", b"deep")
    assert (box.cwd / "a/b/c/d.txt").read_bytes() == b"deep"


async def test_a_write_replaces_the_file_at_once(box: PlainBox, files: Files) -> None:
    path = box.cwd / "a"
    path.write_text("old")
    with path.open() as old:
        await write(files, path, b"new")
        assert old.read() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in box.cwd.iterdir()] == ["a"]


async def test_a_write_through_a_link_lands_where_it_leads(box: PlainBox, files: Files) -> None:
    (box.cwd / "real").mkdir()
    (box.cwd / "link").symlink_to("real/target")
    await write(files, box.cwd / "link", b"1")
    assert (box.cwd / "link").is_symlink()
    assert (box.cwd / "real/target").read_bytes() == b"1"
    await write(files, box.cwd / "link", b"2")
    assert (box.cwd / "real/target").read_bytes() == b"2"


async def test_a_directory_is_listed_by_name(box: PlainBox, files: Files) -> None:
    (box.cwd / "sub").mkdir(mode=0o700)
    (box.cwd / "b.txt").write_text("bb")
    (box.cwd / "to-sub").symlink_to("sub")
    (box.cwd / "dangling").symlink_to("nowhere")
    (box.cwd / "ünï").write_text("")
    found = await files.read(str(box.cwd), actor=ACTOR)
    assert isinstance(found, Directory)
    assert not found.truncated
    rows = [(entry.name, entry.is_dir) for entry in found.entries]
    assert rows == [
        ("b.txt", False),
        ("dangling", False),
        ("sub", True),
        ("to-sub", True),
        ("ünï", False),
    ]
    assert (found.entries[0].size, found.entries[2].mode) == (2, 0o700)
    assert await files.list(str(box.cwd), actor=ACTOR) == found


async def test_names_that_are_not_utf8_are_listed(box: PlainBox, files: Files) -> None:
    (box.cwd / os.fsdecode(b"a\xff")).touch()
    found = await files.list(str(box.cwd), actor=ACTOR)
    assert [entry.name for entry in found.entries] == ["a\ufffd"]


async def test_a_huge_directory_is_listed_in_part_and_says_so(box: PlainBox, files: Files) -> None:
    for number in range(10_050):
        (box.cwd / f"{number}").touch()
    found = await files.list(str(box.cwd), actor=ACTOR)
    assert (len(found.entries), found.truncated) == (10_000, True)


async def test_an_empty_directory_is_listed(box: PlainBox, files: Files) -> None:
    assert await files.list(str(box.cwd), actor=ACTOR) == Directory([], truncated=False)


async def test_a_file_without_a_size_is_read_whole(files: Files) -> None:
    assert (await content(files, "/proc/self/status")).startswith(b"Name:")


async def test_deleting(box: PlainBox, files: Files) -> None:
    path = box.cwd / "a"
    path.touch()
    (box.cwd / "link").symlink_to("a")
    await files.delete(str(box.cwd / "link"), actor=ACTOR)
    assert path.exists()
    await files.delete(str(path), actor=ACTOR)
    assert not path.exists()


async def test_making_directories(box: PlainBox, files: Files) -> None:
    await files.make_dir(str(box.cwd / "a"), actor=ACTOR)
    await files.make_dir(str(box.cwd / "b/c/d/"), parents=True, actor=ACTOR)
    await files.make_dir(str(box.cwd / "b/c/d"), parents=True, actor=ACTOR)
    assert (box.cwd / "a").is_dir()
    assert (box.cwd / "b/c/d").is_dir()


async def test_moving(box: PlainBox, files: Files) -> None:
    (box.cwd / "a").write_text("a")
    (box.cwd / "b").write_text("b")
    await files.move(str(box.cwd / "a"), str(box.cwd / "b"), actor=ACTOR)
    assert (box.cwd / "b").read_text() == "a"
    (box.cwd / "dir").mkdir()
    await files.move(str(box.cwd / "dir"), str(box.cwd / "new/place"), actor=ACTOR)
    assert (box.cwd / "new/place").is_dir()


async def test_moving_to_another_disk(box: PlainBox, files: Files) -> None:
    with disk(box.cwd / "other") as other:
        (box.cwd / "a").write_bytes(b"x" * 100_000)
        (box.cwd / "a").chmod(0o751)
        (box.cwd / "dir").mkdir()
        await files.move(str(box.cwd / "a"), str(other / "a"), actor=ACTOR)
        assert (other / "a").read_bytes() == b"x" * 100_000
        assert modes.S_IMODE((other / "a").stat().st_mode) == 0o751
        assert not (box.cwd / "a").exists()
        with pytest.raises(HostError) as error:
            await files.move(str(box.cwd / "dir"), str(other / "dir"), actor=ACTOR)
        assert error.value.code == "not_permitted"


async def test_stat_says_what_is_there(box: PlainBox, files: Files) -> None:
    (box.cwd / "a").write_text("abc")
    (box.cwd / "a").chmod(0o600)
    found = await files.stat(str(box.cwd / "a"))
    assert (found.exists, found.is_dir, found.size, found.mode) == (True, False, 3, 0o600)
    assert (await files.stat(str(box.cwd))).is_dir
    for absent in ("nowhere", "a/b"):
        assert not (await files.stat(str(box.cwd / absent))).exists


async def test_it_all_is_on_the_timeline(box: PlainBox, files: Files) -> None:
    path = str(box.cwd / "a")
    await write(files, path, b"abc")
    await content(files, path)
    await files.move(path, path + "2", actor=ACTOR)
    await files.make_dir(path + "3", actor=ACTOR)
    await files.delete(path + "2", actor=ACTOR)
    await files.stat(path)
    await files.list(str(box.cwd), actor=ACTOR)
    diff = "@@ -0,0 +1 @@\n+abc\n\\ No newline at end of file"
    change = {"created": True, "diff": diff, "added": 1, "removed": 0}
    assert [(event.kind, event.data) for event in box.events()] == [
        (Kind.FILE_WRITTEN, {"path": path, "size": 3, "mode": 0o644, **change}),
        (Kind.FILE_READ, {"path": path, "size": 3}),
        (Kind.FILE_MOVED, {"source": path, "destination": path + "2"}),
        (Kind.FILE_MADE, {"path": path + "3"}),
        (Kind.FILE_DELETED, {"path": path + "2"}),
    ]
    assert {event.actor for event in box.events()} == {ACTOR}
    assert {event.span for event in box.events()} == {None}


async def test_a_caller_that_gives_up_leaves_no_gap_on_the_timeline(
    box: PlainBox, files: Files
) -> None:
    writing = asyncio.create_task(write(files, box.cwd / "a", bytes(5_000_000)))
    await asyncio.sleep(0)  # it has begun, and can only have begun
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await soon(lambda: _recorded(box))
    assert (box.cwd / "a").stat().st_size == box.events()[0].data["size"] == 5_000_000


async def _recorded(box: PlainBox) -> bool:
    return bool(box.events(Kind.FILE_WRITTEN))


async def test_a_secret_in_a_path_is_masked(box: PlainBox, files: Files) -> None:
    await write(files, box.cwd / "hunter2hunter2.txt")
    assert box.events()[0].data["path"] == str(box.cwd / "[masked].txt")


# ---- what is refused ---------------------------------------------------------------------------

PATHS = {
    "": "invalid",
    "relative": "invalid",
    "./x": "invalid",
    "/a\0b": "invalid",
    "/a\ud800": "invalid",
    "/" + "x" * 256: "name_too_long",
    "/" + "x/" * 2048: "name_too_long",
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ascii(path)[:20])
async def test_what_is_no_path_is_refused_before_anybody_is_asked(
    tmp_path: Path, path: str
) -> None:
    journal = Journal(tmp_path, "sbx_1")
    files = Files(PlainBox(tmp_path, tmp_path / "nobody.sock", tmp_path, journal))
    operations = (
        files.read(path, actor=ACTOR),
        files.list(path, actor=ACTOR),
        files.write(path, b"", actor=ACTOR),
        files.delete(path, actor=ACTOR),
        files.make_dir(path, actor=ACTOR),
        files.move(path, "/x", actor=ACTOR),
        files.move("/x", path, actor=ACTOR),
        files.stat(path),
    )
    for operation in operations:
        with pytest.raises(HostError) as error:
            await operation
        assert error.value.code == PATHS[path]


async def test_nothing_is_written_outside(box: PlainBox, files: Files, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (box.cwd / "inside").write_text("")
    (box.cwd / "link").symlink_to(outside)
    (box.cwd / "file-link").symlink_to(outside / "file")
    (box.cwd / "new-link").symlink_to(outside / "new")
    (box.cwd / "root").symlink_to("/")
    inside = str(box.cwd / "inside")
    for path in (
        str(outside / "new"),
        str(outside / "a/b/c"),
        str(box.cwd / "link/new"),
        str(box.cwd / "link/a/b/c"),
        str(box.cwd / "file-link"),
        str(box.cwd / "new-link"),
        str(box.cwd / ".." / "outside" / "new"),
        str(box.cwd / "root") + str(outside / "new"),
        str(box.cwd) + "-beside/new",
        str(box.cwd),
        "/",
    ):
        operations = [
            files.write(path, b"x", actor=ACTOR),
            files.move(inside, path, actor=ACTOR),
        ]
        if "-link" not in path:  # there the link itself is inside
            operations.append(files.delete(path, actor=ACTOR))
            operations.append(files.move(path, inside + "2", actor=ACTOR))
        if path != str(box.cwd):
            operations.append(files.make_dir(path, parents=True, actor=ACTOR))
        for operation in operations[:1] if "-link" in path else operations:
            with pytest.raises(HostError) as error:
                await operation
            assert error.value.code == "not_permitted", path
        for operation in operations:
            operation.close()
    assert [entry.name for entry in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "kept"
    assert box.events() == []


async def test_reading_is_not_kept_to_the_writable_places(files: Files, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("seen")
    assert await content(files, tmp_path / "elsewhere") == b"seen"


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "terminal", "null"])
async def test_what_is_no_regular_file_neither_hangs_nor_harms(
    box: PlainBox, files: Files, kind: str
) -> None:
    path = box.cwd / kind
    devices = {"zero": (1, 5), "null": (1, 3), "terminal": (5, 0)}
    listener = socket.socket(socket.AF_UNIX)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        listener.bind(str(path))
    else:
        os.mknod(path, 0o666 | modes.S_IFCHR, os.makedev(*devices[kind]))
    (box.cwd / "link").symlink_to(path)
    async with asyncio.timeout(10):
        for name in (path, box.cwd / "link"):
            for operation in (
                files.read(str(name), actor=ACTOR),
                files.write(str(name), b"x", actor=ACTOR),
            ):
                with pytest.raises(HostError) as error:
                    await operation
                assert error.value.code == "not_a_file"
        assert (await files.stat(str(path))).exists
        assert len((await files.list(str(box.cwd), actor=ACTOR)).entries) == 2
        await files.delete(str(path), actor=ACTOR)
    listener.close()


async def test_refusals_say_what_is_wrong(box: PlainBox, files: Files) -> None:
    (box.cwd / "dir/sub").mkdir(parents=True)
    (box.cwd / "file").write_text("")
    (box.cwd / "loop").symlink_to("loop")
    at = box.cwd
    cases = [
        (files.read(f"{at}/nowhere", actor=ACTOR), "no_such_file"),
        (files.read(f"{at}/file/x", actor=ACTOR), "not_a_directory"),
        (files.read(f"{at}/loop", actor=ACTOR), "invalid"),
        (files.list(f"{at}/file", actor=ACTOR), "not_a_directory"),
        (files.list(f"{at}/nowhere", actor=ACTOR), "no_such_file"),
        (files.write(f"{at}/dir", b"", actor=ACTOR), "is_directory"),
        (files.write(f"{at}/new/", b"", actor=ACTOR), "is_directory"),
        (files.write(f"{at}/file/x", b"", actor=ACTOR), "not_a_directory"),
        (files.write(f"{at}/loop", b"", actor=ACTOR), "invalid"),
        (files.write(f"{at}/new/../x", b"", actor=ACTOR), "no_such_file"),
        (files.delete(f"{at}/dir", actor=ACTOR), "is_directory"),
        (files.delete(f"{at}/nowhere", actor=ACTOR), "no_such_file"),
        (files.make_dir(f"{at}/dir", actor=ACTOR), "file_exists"),
        (files.make_dir(f"{at}/file", parents=True, actor=ACTOR), "file_exists"),
        (files.make_dir(f"{at}/a/b", actor=ACTOR), "no_such_file"),
        (files.make_dir(f"{at}/file/b", parents=True, actor=ACTOR), "not_a_directory"),
        (files.move(f"{at}/nowhere", f"{at}/x", actor=ACTOR), "no_such_file"),
        (files.move(f"{at}/file", f"{at}/dir", actor=ACTOR), "file_exists"),
        (files.move(f"{at}/dir", f"{at}/dir/sub/x", actor=ACTOR), "invalid"),
        (files.move(f"{at}/dir", f"{at}/file", actor=ACTOR), "not_a_directory"),
    ]
    for number, (operation, code) in enumerate(cases):
        with pytest.raises(HostError) as error:
            await operation
        assert error.value.code == code, f"case {number}: {error.value.message}"
        assert error.value.message.endswith(".")
    assert box.events() == []


async def test_a_full_disk_is_said_and_leaves_the_old_file(box: PlainBox, files: Files) -> None:
    with disk(box.cwd / "small", "size=256k") as small:
        await write(files, small / "file", b"old")
        with pytest.raises(HostError) as error:
            await write(files, small / "file", bytes(8_000_000))
        assert error.value.code == "no_space"
        assert (small / "file").read_bytes() == b"old"
        assert [entry.name for entry in small.iterdir()] == ["file"]


async def test_a_read_only_disk_is_said(box: PlainBox, files: Files) -> None:
    with disk(box.cwd / "fixed", "ro") as fixed:
        with pytest.raises(HostError) as error:
            await write(files, fixed / "file")
        assert error.value.code == "not_permitted"


async def test_a_broken_off_write_leaves_nothing(box: PlainBox) -> None:
    head = struct.pack("<QI", 100_000, 0o644)
    link = await Link.open(box.agent_socket)
    await link.send(Ask.WRITE, head + text(f"{box.cwd}/a") + texts([str(box.cwd)]))
    await link.expect(Answer.READY, subject="a")
    await link.send(Ask.DATA, b"x" * 1000)
    await soon(lambda: _holds(box, [1000]))
    link.close()
    await soon(lambda: _holds(box, []))


async def _holds(box: PlainBox, sizes: list[int]) -> bool:
    return [entry.stat().st_size for entry in box.cwd.iterdir()] == sizes


@pytest.mark.parametrize("sizes", [(10, 11), (10, 9)])
async def test_a_write_of_another_size_than_announced_is_refused(
    box: PlainBox, sizes: tuple[int, int]
) -> None:
    announced, sent = sizes
    link = await Link.open(box.agent_socket)
    head = struct.pack("<QI", announced, 0o644)
    await link.send(Ask.WRITE, head + text(f"{box.cwd}/a") + texts([str(box.cwd)]))
    await link.expect(Answer.READY, subject="a")
    await link.send(Ask.DATA, b"x" * sent)
    await link.send(Ask.END)
    with pytest.raises(HostError):
        await link.expect(Answer.META, subject="a")
    link.close()
    assert list(box.cwd.iterdir()) == []


async def test_many_at_once(box: PlainBox, files: Files) -> None:
    paths = [box.cwd / f"{number}" for number in range(64)]
    await asyncio.gather(*(write(files, path, path.name.encode()) for path in paths))
    read = await asyncio.gather(*(content(files, path) for path in paths))
    assert read == [path.name.encode() for path in paths]


# ---- an agent that lies ------------------------------------------------------------------------

FILE = frame(Answer.META, struct.pack("<BQIQ", ord("f"), 1, 0o644, 0))
DIRECTORY = frame(Answer.META, struct.pack("<BQIQ", ord("d"), 1, 0o755, 0))
ENTRY = struct.pack("<BQIQ", 0, 0, 0, 0) + text("x")
LIES = {
    "a file without end": FILE + frame(Answer.DATA, bytes(32768)) * 600,
    "a directory without end": DIRECTORY + frame(Answer.NAME, ENTRY * 500) * 50,
    "an entry cut short": DIRECTORY + frame(Answer.NAME, ENTRY[:-3]),
    "an unknown kind": frame(Answer.META, struct.pack("<BQIQ", ord("?"), 1, 0, 0)),
    "a directory's entries in a file": FILE + frame(Answer.NAME, ENTRY),
    "an error cut short": frame(Answer.ERROR, b"p"),
    "four gigabytes": struct.pack("<IB", 0xFFFFFFFF, Answer.META),
    "half a file": FILE + frame(Answer.DATA, b"x"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", LIES)
async def test_the_host_believes_no_lies_about_files(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path, "sbx_1")
    box = PlainBox(tmp_path, tmp_path / "false.sock", tmp_path, journal)
    async with false_agent(box.agent_socket, LIES[name]):
        with pytest.raises(HostError) as error:
            await Files(box).read("/x", actor=ACTOR)
    assert error.value.code == "agent_lost"
    assert box.events() == []
    journal.close()


async def test_an_error_nobody_knows_is_internal(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    box = PlainBox(tmp_path, tmp_path / "false.sock", tmp_path, journal)
    async with false_agent(box.agent_socket, frame(Answer.ERROR, b"z" + b"\xff" * 4)):
        with pytest.raises(HostError) as error:
            await Files(box).stat("/x")
    assert error.value.code == "internal"
    journal.close()
