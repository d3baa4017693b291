"""Give up every right before the first byte of a stranger is read."""

from __future__ import annotations

import ctypes
import os
import resource
import socket

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 4, 38, 24
_LAST_CAPABILITY = 63
_CLONE_NEWNS, _MS_PRIVATE, _MNT_DETACH = 0x00020000, 0x4000 | 1 << 18, 2


def drop(uid: int) -> None:
    """Become ``uid`` with no group, no capability and no way back. Without root: only the latter.

    Everything that is imported later must be readable to ``uid``: import first, resolve a name
    once so that the resolver's libraries are loaded, then drop.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() == 0:
        for capability in range(_LAST_CAPABILITY + 1):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def let_go_of(stage: str) -> None:
    """Take the mounts at ``stage`` out of this process's sight alone. Raises ``OSError``.

    This process outlives its host, whose mounts must end with it: the kernel keeps them, and the
    disks below them, for as long as anybody's namespace has them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, _MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    while libc.umount2(os.fsencode(stage), _MNT_DETACH) == 0:
        pass


def warm_up() -> None:
    """Load what a name's resolution needs, while it can still be read."""
    socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    "localhost".encode("idna")
