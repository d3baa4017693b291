"""Files of any size on a real agent, piece by piece."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sandboxes.host.agent.frames import Answer
from sandboxes.host.agent.transfers import Download
from sandboxes.host.files import TRANSFERS_AT_ONCE, Files
from sandboxes.host.types import FILE_LIMIT, HostError
from tests.sandboxes.host.plain import PlainBox, false_agent, frame, plain_box, soon
from timeline.events import Actor, Kind

ACTOR = Actor("token", id="tok_1", name="ci", prefix="ork_abcd")
LARGE = FILE_LIMIT + 12345


@pytest.fixture
def box(tmp_path: Path) -> Iterator[PlainBox]:
    with plain_box(tmp_path) as box:
        yield box


def files_of(box: PlainBox) -> Files:
    return Files(box, writable=[str(box.cwd)])


async def pieces(download: Download, *, limit: int = 1 << 40) -> AsyncIterator[bytes]:
    while piece := await download.next(limit):
        yield piece


async def test_a_file_beyond_the_limit_of_json_comes_whole(box: PlainBox) -> None:
    content = os.urandom(LARGE)
    (box.cwd / "file").write_bytes(content)
    async with files_of(box).reading(str(box.cwd / "file"), actor=ACTOR) as download:
        assert download.meta.size == LARGE
        assert b"".join([piece async for piece in pieces(download)]) == content
    (event,) = box.events(Kind.FILE_READ)
    assert (event.data["size"], event.actor) == (LARGE, ACTOR)


@pytest.mark.parametrize("offset", [1, LARGE - 1, LARGE, LARGE + 5, 1 << 61])
async def test_it_begins_where_it_is_asked_to(box: PlainBox, offset: int) -> None:
    content = os.urandom(LARGE)
    (box.cwd / "file").write_bytes(content)
    path = str(box.cwd / "file")
    async with files_of(box).reading(path, offset=offset, actor=ACTOR) as download:
        assert b"".join([piece async for piece in pieces(download)]) == content[offset:]


async def test_what_was_handed_out_is_what_is_told(box: PlainBox) -> None:
    (box.cwd / "file").write_bytes(b"x" * LARGE)
    async with files_of(box).reading(str(box.cwd / "file"), actor=ACTOR) as download:
        assert len(await download.next(100)) == 100
    (event,) = box.events(Kind.FILE_READ)
    assert event.data["size"] == 100


async def test_an_upload_is_in_place_when_it_is_finished_and_not_before(box: PlainBox) -> None:
    target, content = box.cwd / "a" / "file", os.urandom(LARGE)
    async with files_of(box).writing(str(target), size=LARGE, actor=ACTOR) as upload:
        for start in range(0, LARGE, 1_000_000):
            await upload.put(content[start : start + 1_000_000])
        assert not target.exists()
        await upload.finish()
        assert target.read_bytes() == content
    (event,) = box.events(Kind.FILE_WRITTEN)
    assert (event.data["size"], event.data["mode"]) == (LARGE, 0o644)


async def test_an_upload_that_is_left_leaves_nothing(box: PlainBox) -> None:
    target = box.cwd / "file"
    target.write_text("as it was")
    async with files_of(box).writing(str(target), size=10, actor=ACTOR) as upload:
        await upload.put(b"12345")

    async def is_alone() -> bool:
        return [path.name for path in box.cwd.iterdir()] == ["file"]

    await soon(is_alone)
    assert target.read_text() == "as it was"
    assert box.events(Kind.FILE_WRITTEN) == []


@pytest.mark.parametrize("sent", [b"1234", b"123456"])
async def test_a_size_that_was_not_kept_to_is_refused(box: PlainBox, sent: bytes) -> None:
    async with files_of(box).writing(str(box.cwd / "file"), size=5, actor=ACTOR) as upload:
        with pytest.raises(HostError):
            await upload.put(sent)
            await upload.finish()
    assert not (box.cwd / "file").exists()


async def test_a_directory_is_no_download(box: PlainBox) -> None:
    with pytest.raises(HostError) as caught:
        async with files_of(box).reading(str(box.cwd), actor=ACTOR):
            pass
    assert caught.value.code == "is_directory"


async def test_one_more_than_may_be_is_refused_at_once(box: PlainBox) -> None:
    (box.cwd / "file").write_bytes(b"x" * LARGE)
    files, path = files_of(box), str(box.cwd / "file")
    async with AsyncExitStack() as held:
        for _ in range(TRANSFERS_AT_ONCE):
            await held.enter_async_context(files.reading(path, actor=ACTOR))
        with pytest.raises(HostError) as caught:
            await held.enter_async_context(files.reading(path, actor=ACTOR))
        assert caught.value.code == "busy"
        assert (await files.stat(path)).size == LARGE
    async with files.reading(path, actor=ACTOR) as download:
        assert await download.next(1) == b"x"


async def test_a_false_agent_cannot_make_the_host_believe_it(box: PlainBox, tmp_path: Path) -> None:
    meta = frame(Answer.META, b"f" + b"\0" * 20)
    for wrong in (frame(Answer.OK), frame(Answer.DATA, b"", size=1 << 31), frame(200), b""):
        box.agent_socket = tmp_path / "false.sock"
        box.agent_socket.unlink(missing_ok=True)
        async with false_agent(box.agent_socket, meta, wrong):
            with pytest.raises(HostError) as caught:
                async with files_of(box).reading("/file", actor=ACTOR) as download:
                    await download.next(1)
        assert caught.value.code == "agent_lost"
