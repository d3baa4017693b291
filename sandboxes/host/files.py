"""File operations in one sandbox. The agent does them inside, so no link leads out of it."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from sandboxes.host.agent.frames import (
    FILE_CHUNK,
    WRITE_SAME,
    WRITE_TELL,
    Answer,
    Ask,
    Meta,
    Ready,
    lost,
    names,
    text,
    texts,
)
from sandboxes.host.agent.link import Link, linked
from sandboxes.host.agent.refusals import changed
from sandboxes.host.agent.transfers import Download, Upload
from sandboxes.host.diffs import TEXT_LIMIT, Before, change
from sandboxes.host.masking import masker_for
from sandboxes.host.types import (
    FILE_LIMIT,
    PATH_LIMIT,
    WRITABLE,
    Box,
    Directory,
    Entry,
    FileContent,
    HostError,
    Stat,
    version,
)
from timeline.events import Actor, Kind, NewEvent

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Bytes of one name in a path.
NAME_LIMIT: Final = 255
#: Operations of one sandbox at a time; each is a process in it.
AT_ONCE: Final = 8
TRANSFERS_AT_ONCE: Final = 16
ENTRIES_LIMIT: Final = 10_000
_NOTHING: Final[Mapping[str, Any]] = {}


def check_path(path: str) -> None:
    """Refuses what is no path. Raises ``HostError`` invalid or name_too_long."""
    if not path.startswith("/"):
        raise HostError("invalid", "The path is not absolute; begin it with /.")
    if "\0" in path:
        raise HostError("invalid", "The path holds a NUL character; leave it out.")
    try:
        raw = path.encode()
    except UnicodeEncodeError as error:
        raise HostError("invalid", "The path holds half a character; send valid UTF-8.") from error
    if len(raw) > PATH_LIMIT or max(map(len, raw.split(b"/"))) > NAME_LIMIT:
        raise HostError(
            "name_too_long",
            "The path is too long; use at most 255 bytes a name and 4095 in all.",
        )


class Files:
    """Every method raises ``HostError``. All but ``stat`` and listing leave an event."""

    def __init__(self, box: Box, *, writable: Sequence[str] = WRITABLE) -> None:
        self._box = box
        self._roots = texts(list(writable))
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._masker = masker_for(box)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._transfers = 0

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """What is done is recorded, though its caller has left."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def write(
        self,
        path: str,
        content: bytes,
        *,
        mode: int = 0o644,
        replacing: str | None = None,
        actor: Actor,
    ) -> int:
        """Puts a whole file in place at once, parents and all. Answers the bytes written.

        ``replacing`` is the ``types.version`` that it stands in place of, empty where there is to
        be nothing: anything else there is left as it is, and ``HostError`` file_changed raised.
        """
        check_path(path)
        if len(content) > FILE_LIMIT:
            raise _too_large(path)
        return await self._whole(self._write(path, content, mode, replacing, actor))

    async def _write(
        self, path: str, content: bytes, mode: int, replacing: str | None, actor: Actor
    ) -> int:
        question = self._write_question(path, len(content), mode, is_same=replacing is not None)
        async with self._ask(Ask.WRITE, question) as link:
            ready = Ready.parse(await link.expect(Answer.READY, subject=path))
            if replacing not in (None, _version(ready)):
                raise changed(path)
            await self._send(link, content)
            meta = Meta.parse(await link.expect(Answer.META, subject=path))
        size = len(content)
        self._record_write(path, meta, size=size, ready=ready, content=content, actor=actor)
        return size

    def _write_question(self, path: str, size: int, mode: int, *, is_same: bool = False) -> bytes:
        flags = WRITE_TELL | (WRITE_SAME if is_same else 0)
        return struct.pack("<QI", size, mode & 0o7777 | flags) + text(path) + self._roots

    def _record_write(
        self,
        path: str,
        meta: Meta,
        *,
        size: int,
        ready: Ready | None,
        content: bytes | None,
        actor: Actor,
    ) -> None:
        masked: dict[str, Any] = {}
        if ready is not None:
            before = Before(ready.meta.kind != "nothing", ready.content)
            masked = change(before, content, self._masker)
        self._record(Kind.FILE_WRITTEN, actor, masked, path=path, size=size, mode=meta.mode)

    @staticmethod
    async def _send(link: Link, content: bytes) -> None:
        for start in range(0, len(content), FILE_CHUNK):
            await link.send(Ask.DATA, content[start : start + FILE_CHUNK])
        await link.send(Ask.END)

    async def read(self, path: str, *, actor: Actor) -> FileContent | Directory:
        """A file's content, up to 16 MiB, or a directory's entries sorted by name."""
        check_path(path)
        return await self._whole(self._read(path, actor))

    async def _read(self, path: str, actor: Actor) -> FileContent | Directory:
        async with self._ask(Ask.READ, struct.pack("<QQ", FILE_LIMIT, 0) + text(path)) as link:
            meta = Meta.parse(await link.expect(Answer.META, subject=path))
            if meta.kind == "directory":
                return await self._entries(link, path)
            content = await self._content(link, path)
        self._record(Kind.FILE_READ, actor, path=path, size=len(content))
        return FileContent(content, len(content), meta.mode, meta.modified_at)

    @staticmethod
    async def _content(link: Link, path: str) -> bytes:
        content = bytearray()
        while True:
            kind, payload = await link.answer(subject=path)
            if kind is Answer.END:
                return bytes(content)
            content += payload
            if kind is not Answer.DATA or len(content) > FILE_LIMIT:
                raise lost("more than it was asked for")

    @staticmethod
    async def _entries(link: Link, path: str) -> Directory:
        entries: list[Entry] = []
        while True:
            kind, payload = await link.answer(subject=path)
            if kind is Answer.END:
                entries.sort(key=lambda entry: entry.name)
                return Directory(entries, truncated=payload != b"\0")
            entries.extend(names(payload) if kind is Answer.NAME else ())
            if kind is not Answer.NAME or len(entries) > ENTRIES_LIMIT:
                raise lost("more than it was asked for")

    @asynccontextmanager
    async def reading(self, path: str, *, offset: int = 0, actor: Actor) -> AsyncIterator[Download]:
        """A file of any size from ``offset`` on, piece by piece as they are asked for."""
        check_path(path)
        question = struct.pack("<QQ", 0, offset) + text(path)
        async with self._transfer(), self._open(Ask.READ, question) as link:
            meta = Meta.parse(await link.expect(Answer.META, subject=path))
            if meta.kind == "directory":
                raise HostError("is_directory", f"{path} is a directory; name a file.")
            download = Download(link, meta, path)
            try:
                yield download
            finally:
                if download.given is not None:
                    self._record(Kind.FILE_READ, actor, path=path, size=download.given)

    @asynccontextmanager
    async def writing(
        self, path: str, *, size: int, mode: int = 0o644, actor: Actor
    ) -> AsyncIterator[Upload]:
        """A file of any size; it is in place once ``finish`` returns, and there is none before."""
        check_path(path)
        question = self._write_question(path, size, mode)
        async with self._transfer(), self._open(Ask.WRITE, question) as link:
            ready = Ready.parse(await link.expect(Answer.READY, subject=path))
            upload = Upload(link, path, keep=TEXT_LIMIT)
            try:
                yield upload
            finally:
                upload.close()
                if upload.meta is not None:
                    content = bytes(upload.kept) if upload.kept is not None else None
                    self._record_write(
                        path, upload.meta, size=size, ready=ready, content=content, actor=actor
                    )

    @asynccontextmanager
    async def _transfer(self) -> AsyncIterator[None]:
        """They may take long, so they have places of their own, and nobody waits for one."""
        if self._transfers >= TRANSFERS_AT_ONCE:
            message = f"{TRANSFERS_AT_ONCE} transfers are under way; wait for one of them to end."
            raise HostError("busy", message)
        self._transfers += 1
        try:
            yield
        finally:
            self._transfers -= 1

    async def list(self, path: str, *, actor: Actor) -> Directory:
        """A directory's entries. Raises ``HostError`` not_a_directory for a file."""
        there = await self.stat(path)
        if there.exists and not there.is_dir:
            raise HostError("not_a_directory", f"{path} is not a directory; name one.")
        found = await self.read(path, actor=actor)
        if isinstance(found, FileContent):
            raise HostError("not_a_directory", f"{path} is not a directory; name one.")
        return found

    async def delete(self, path: str, *, actor: Actor) -> None:
        """Removes a file, or a link but not what it leads to. A directory is refused."""
        check_path(path)
        payload = text(path) + self._roots
        await self._whole(self._change(Ask.DELETE, payload, Kind.FILE_DELETED, actor, path=path))

    async def make_dir(self, path: str, *, parents: bool = False, actor: Actor) -> None:
        """Makes a directory; with ``parents`` one that exists is fine."""
        check_path(path)
        payload = struct.pack("<I", parents) + text(path) + self._roots
        try:
            await self._whole(self._change(Ask.MKDIR, payload, Kind.FILE_MADE, actor, path=path))
        except HostError as error:
            if error.code != "no_such_file" or parents:
                raise
            above = path.rstrip("/").rpartition("/")[0]
            message = f"There is no {above} to make it in; make that first, or with parents."
            raise HostError(error.code, message) from None

    async def move(self, source: str, destination: str, *, actor: Actor) -> None:
        """Renames; a file at the destination is replaced, a directory there is refused."""
        check_path(source)
        check_path(destination)
        payload = text(source) + text(destination) + self._roots
        paths = {"source": source, "destination": destination}
        await self._whole(self._change(Ask.MOVE, payload, Kind.FILE_MOVED, actor, **paths))

    async def stat(self, path: str) -> Stat:
        """What is there, through links; nothing at all is an answer too."""
        check_path(path)
        meta = await self._simple(Ask.STAT, text(path), path)
        exists = meta.kind != "nothing"
        is_dir = meta.kind == "directory"
        return Stat(path, exists, is_dir, meta.size, meta.mode, meta.modified_at)

    async def _change(
        self, ask: Ask, payload: bytes, kind: Kind, actor: Actor, **paths: str
    ) -> None:
        await self._simple(ask, payload, " or ".join(paths.values()))
        self._record(kind, actor, **paths)

    async def _simple(self, ask: Ask, payload: bytes, subject: str) -> Meta:
        async with self._ask(ask, payload) as link:
            return Meta.parse(await link.expect(Answer.META, subject=subject))

    @asynccontextmanager
    async def _ask(self, ask: Ask, payload: bytes) -> AsyncIterator[Link]:
        async with self._slots, self._open(ask, payload) as link:
            yield link

    @asynccontextmanager
    async def _open(self, ask: Ask, payload: bytes) -> AsyncIterator[Link]:
        async with linked(self._box.agent_socket) as link:
            await link.send(ask, payload)
            yield link

    def _record(
        self, kind: Kind, actor: Actor, masked: Mapping[str, Any] = _NOTHING, /, **data: Any
    ) -> None:
        shown = {
            name: self._masker.mask_text(value) if isinstance(value, str) else value
            for name, value in data.items()
        }
        shown.update(masked)
        try:
            self._box.journal.append(NewEvent(kind=kind, data=shown, actor=actor))
        except OSError as error:
            log.exception("%s of %s is not recorded", kind, self._box.sandbox_id)
            message = "It is done, but the host cannot record it; free space on its disk."
            raise HostError("internal", message) from error


def _version(ready: Ready | None) -> str:
    """Of what is there now, empty for nothing; no version where an older agent does not say."""
    if ready is None:
        return "unknown"
    meta = ready.meta
    return version(meta.size, meta.modified_at) if meta.kind != "nothing" else ""


def _too_large(path: str) -> HostError:
    return HostError(
        "too_large",
        f"{path} is larger than 16 MiB; use a presigned URL.",
        extra={"limit": FILE_LIMIT},
    )
