"""Private writable disks: a sparse ext4 image per sandbox, mounted through a loop device.

The image's size is the sandbox's disk ceiling. An empty one is formatted once per size and then
cloned by copying only the few blocks that hold something. The loop device lets go of its image
when the filesystem's last user is gone, so nothing has to be detached.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import stat
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandboxes.host import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LOOP_GET_STATUS64 = 0x4C82, 0x4C0A, 0x4C05
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_MAJOR = 7
_ATTEMPTS = 64
_BLOCK = 4096
_CHECK_SECONDS = 120
_UNCORRECTED = 4

MIB = 1024 * 1024

log = logging.getLogger(__name__)


class _LoopInfo(ctypes.Structure):
    _fields_ = (
        ("device", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("rdevice", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("sizelimit", ctypes.c_uint64),
        ("number", ctypes.c_uint32),
        ("encrypt_type", ctypes.c_uint32),
        ("encrypt_key_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("file_name", ctypes.c_uint8 * 64),
        ("crypt_name", ctypes.c_uint8 * 64),
        ("encrypt_key", ctypes.c_uint8 * 32),
        ("init", ctypes.c_uint64 * 2),
    )


class _LoopConfig(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", _LoopInfo),
        ("reserved", ctypes.c_uint64 * 8),
    )


def blank(directory: Path, *, size_mb: int) -> Path:
    """The empty image of this size in ``directory``, formatted when it is not there yet."""
    image = directory / f"{size_mb}-{_BLOCK}.ext4"
    if image.exists():
        return image
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="making-") as scratch:
        layout = Path(scratch, "layout")
        (layout / "upper").mkdir(parents=True)
        (layout / "work").mkdir()
        made = Path(scratch, "image")
        with made.open("wb") as file:
            file.truncate(size_mb * MIB)
        _format(made, layout)
        made.rename(image)
    return image


def _format(image: Path, layout: Path) -> None:
    """No journal: a disk never outlives a crash of the machine, so there is nothing to replay."""
    options = "lazy_itable_init=1,nodiscard,root_owner=0:0"
    command = ["mkfs.ext4", "-q", "-F", "-b", str(_BLOCK), "-i", "16384", "-m", "0"]
    command += ["-O", "^has_journal,^resize_inode"]
    subprocess.run(
        [*command, "-E", options, "-d", str(layout), str(image)],
        check=True,
        capture_output=True,
        timeout=120,
    )


def clone(source: Path, target: Path) -> None:
    """Copy a sparse image without its holes. ``target`` must not exist."""
    with source.open("rb") as reader, target.open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        for start, end in _extents(reader.fileno(), size):
            os.lseek(writer.fileno(), start, os.SEEK_SET)
            offset = start
            while offset < end:
                offset += os.sendfile(writer.fileno(), reader.fileno(), offset, end - offset)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each run of data in a sparse file."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, position


def flush(image: Path, *, scratch: Path) -> None:
    """Have all that was written to a mounted image in it. Nothing may be writing meanwhile."""
    device = _device_of(image)
    scratch.mkdir(mode=0o700)
    try:
        flags = mounts.MS_NODEV | mounts.MS_NOSUID | mounts.MS_NOATIME
        mounts.mount(device, scratch, "ext4", flags=flags, data="discard")
        try:
            mounts.sync(scratch)
        finally:
            mounts.detach(scratch)
    finally:
        scratch.rmdir()


def _device_of(image: Path) -> str:
    for device, file in _attached_files():
        if file == str(image):
            return device
    raise OSError(errno.ENODEV, "the disk is not mounted", str(image))


def _attached_files() -> Iterator[tuple[str, str]]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            yield f"/dev/{path.parent.parent.name}", path.read_text().rstrip("\n")


def is_attached(image: Path) -> bool:
    """Whether a loop device has this very file, by whatever name, removed ones included."""
    wanted = image.stat()
    found = (wanted.st_dev, wanted.st_ino)
    return any(_attached_to(device) == found for device, _ in _attached_files())


def _attached_to(device: str) -> tuple[int, int] | None:
    """Device and inode of what a loop device has. None once it has let go."""
    info = _LoopInfo()
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(fd, _LOOP_GET_STATUS64, info)
    except OSError:
        return None
    finally:
        os.close(fd)
    return _decoded(info.device), info.inode


def _decoded(device: int) -> int:
    """A device number as the kernel packs it: 12 bits of major between 8 and 12 bits of minor."""
    return os.makedev(device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00)


def check(image: Path) -> None:
    """Give back what only running processes held, and be sure that the rest is whole.

    Raises ``OSError``. The disk may not be mounted.
    """
    done = subprocess.run(
        ["e2fsck", "-f", "-p", str(image)],
        capture_output=True,
        text=True,
        timeout=_CHECK_SECONDS,
        check=False,
        env={"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
    )
    if done.returncode >= _UNCORRECTED:
        log.error("a disk is not whole: %s%s", done.stdout, done.stderr)
        raise OSError(f"its filesystem is not whole (e2fsck {done.returncode})")


def mount_image(image: Path, target: Path) -> None:
    """Mount an image on ``target``; unmounting it frees the loop device as well."""
    with image.open("r+b") as file, attached(file.fileno()) as device:
        flags = mounts.MS_NODEV | mounts.MS_NOSUID | mounts.MS_NOATIME
        mounts.mount(device, target, "ext4", flags=flags, data="discard")


@contextmanager
def attached(fd: int) -> Iterator[str]:
    """The path of a loop device on ``fd``, which frees itself when nobody has it open."""
    device, path = _attach(fd)
    try:
        yield path
    finally:
        os.close(device)


def _attach(fd: int) -> tuple[int, str]:
    """Another process may take the free device first, so it is tried a few times."""
    config = _LoopConfig(fd=fd, block_size=_BLOCK)
    config.info.flags = _LO_FLAGS_AUTOCLEAR
    with Path("/dev/loop-control").open("rb") as control:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            path = f"/dev/loop{number}"
            _ensure_node(path, number)
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, path
    raise OSError(errno.EBUSY, "no loop device is free")


def _ensure_node(path: str, number: int) -> None:
    """In a container /dev has only the nodes it was made with."""
    if not Path(path).exists():
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(_LOOP_MAJOR, number))
