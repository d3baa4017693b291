"""The mount calls that Python lacks, as plain blocking functions that raise ``OSError``.

The host does all its mounting in a mount namespace of its own (``own_mounts``). Nothing of it
shows on the machine, and whatever a killed host leaves behind the kernel takes down by itself:
a sandbox lives on in its own namespace, which holds what it needs.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandboxes.host import namespaces

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOATIME = 1, 2, 4, 1024
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
MNT_DETACH = 2

_CLONE_FS, _CLONE_NEWNS = 0x00000200, 0x00020000
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSCONFIG_FLAG, _FSCONFIG_STRING, _FSCONFIG_CREATE, _CLOEXEC = 0, 1, 6, 1
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC, _MOVE_MOUNT_F_EMPTY_PATH = 1, 0o2000000, 4
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_IDMAP = 0x1, 0x2, 0x4, 0x00100000
_ATTR_NOATIME = 0x10
_NO_LINK_IS_FOLLOWED = 0

#: Where the next root of a container is for a moment.
_NEXT_ROOT = "/.next"

#: How many user and group ids a sandbox has.
IDS = 65536

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def own_mounts() -> None:
    """Move this process to a mount namespace of its own. Call before any thread is started."""
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
    _checked(_libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None), "/")


def mount(source: str, target: Path, fstype: str, *, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        source.encode(), os.fsencode(target), fstype.encode(), flags, data.encode()
    )
    _checked(result, str(target))


def bind(source: Path, target: Path) -> None:
    """Have ``target`` show what ``source`` holds."""
    mount(str(source), target, "none", flags=MS_BIND)


def detach(target: Path) -> None:
    """Take a mount out of the tree; it ends when nobody uses it. Nothing mounted there is fine."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) < 0:
        number = ctypes.get_errno()
        if number not in {22, 2}:
            raise OSError(number, os.strerror(number), str(target))


def sync(path: Path) -> None:
    """Write out all of the filesystem that ``path`` is on."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_fd(fd)
    finally:
        os.close(fd)


def sync_fd(fd: int) -> None:
    """Write out all of the filesystem that an open file is on."""
    _checked(_libc.syncfs(fd), "syncfs")


def copied(source: Path) -> int:
    """A descriptor of a copy of the mount at ``source``, which is in no tree."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    tree = _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
    return _checked(tree, str(source))


def bind_idmapped(source: Path, target: Path, userns_fd: int, *, is_read_only: bool = True) -> None:
    """Bind ``source`` on ``target`` with owners shifted as ``userns_fd`` maps them."""
    tree = copied(source)
    try:
        idmap(tree, userns_fd, is_read_only=is_read_only)
        _move(tree, os.fsencode(target))
    finally:
        os.close(tree)


def idmap(mount_fd: int, userns_fd: int, *, is_read_only: bool = False) -> None:
    """Shift the owners in a mount that is nowhere yet, as ``userns_fd`` maps them."""
    wanted = _ATTR_NOSUID | _ATTR_NODEV | _ATTR_IDMAP
    if is_read_only:
        wanted |= _ATTR_RDONLY
    attr = _MountAttr(wanted, 0, 0, userns_fd)
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, mount_fd, b"", _AT_EMPTY_PATH, ctypes.byref(attr), size
    )
    _checked(result, "shifting the owners of a mount")


def _move(mount_fd: int, target: bytes) -> None:
    """A link at ``target`` itself is not followed."""
    result = _libc.syscall(
        _SYS_MOVE_MOUNT, mount_fd, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH
    )
    _checked(result, os.fsdecode(target))


def detached(source: str, fstype: str, options: Mapping[str, str]) -> int:
    """A descriptor of a new mount that is in no tree, and ends with it unless it is moved to one.

    An option with an empty value is a flag.
    """
    context = _checked(_libc.syscall(_SYS_FSOPEN, fstype.encode(), _CLOEXEC), fstype)
    try:
        _configure(context, _FSCONFIG_STRING, "source", source)
        for name, value in options.items():
            _configure(context, _FSCONFIG_STRING if value else _FSCONFIG_FLAG, name, value)
        _configure(context, _FSCONFIG_CREATE)
        wanted = _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOATIME
        return _checked(_libc.syscall(_SYS_FSMOUNT, context, _CLOEXEC, wanted), source)
    finally:
        os.close(context)


def _configure(context: int, command: int, name: str = "", value: str = "") -> None:
    key = name.encode() if name else None
    text = value.encode() if value else None
    result = _libc.syscall(_SYS_FSCONFIG, context, command, key, text, 0)
    _checked(result, name or "mount")


def place(mount_fd: int, target: Path) -> None:
    """Attach a mount that is nowhere yet in this process's own tree."""
    _move(mount_fd, os.fsencode(target))


def move_into(mount_fd: int, namespace_fd: int, target: str) -> None:
    """Attach a mount that is nowhere yet at an absolute path of another mount namespace."""

    def move() -> None:
        _enter_mounts(namespace_fd)
        _move(mount_fd, target.encode())

    namespaces.in_own_thread(move)


def exchange_root(mount_fd: int, namespace_fd: int, *, keeping: Sequence[str]) -> None:
    """Make a mount that is nowhere yet the root of another mount namespace and of all whose root
    was the root there. The mounts at the names in ``keeping`` are moved to it, the old root ends.

    Nobody in there may be able to hinder it: a folder is made in the old root.
    """

    def exchange() -> None:
        _enter_mounts(namespace_fd)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        old = os.open("/", flags)
        Path(_NEXT_ROOT).mkdir(mode=0o700)
        _move(mount_fd, _NEXT_ROOT.encode())
        new = os.open(_NEXT_ROOT, flags)
        try:
            for name in keeping:
                moved = _libc.syscall(
                    _SYS_MOVE_MOUNT, old, name.encode(), new, name.encode(), _NO_LINK_IS_FOLLOWED
                )
                _checked(moved, name)
            os.fchdir(new)
            _checked(_libc.pivot_root(b".", b"."), "pivot_root")
            os.fchdir(old)
            _checked(_libc.umount2(b".", MNT_DETACH), "the old root")
        finally:
            os.close(new)
            os.close(old)

    namespaces.in_own_thread(exchange)


def _enter_mounts(namespace_fd: int) -> None:
    """For good: in a thread of its own."""
    _checked(_libc.unshare(_CLONE_FS), "unshare")  # or the whole process would move
    _checked(_libc.setns(namespace_fd, _CLONE_NEWNS), "setns")


def user_namespace(base: int, *, first: int = 0) -> int:
    """A descriptor of a new user namespace that maps 65536 ids from ``first`` on to ``base``….

    One that does not begin at 0 maps the machine's root to itself: an overlay works as that.
    A process with threads cannot enter one and need not fork for it: ``cat`` is started in it and
    gives back a byte once it is there. The namespace lives as long as the descriptor.
    """
    with subprocess.Popen(
        ["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as keeper:
        if keeper.stdin is None or keeper.stdout is None:
            raise OSError("no pipes to the new user namespace")
        keeper.stdin.write(b".")
        keeper.stdin.flush()
        if keeper.stdout.read(1) != b".":
            raise OSError(1, "this kernel makes no user namespaces")
        lines = f"{first} {base} {IDS}\n" if first == 0 else f"0 0 1\n{first} {base} {IDS}\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{keeper.pid}/{name}").write_text(lines)
        return os.open(f"/proc/{keeper.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
