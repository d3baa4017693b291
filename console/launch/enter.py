"""Run a program as the service user, in a checkout that this user cannot reach by itself.

    python -I -S enter.py --user orkestr --need /home/me/checkout -- program args…

A home folder is often closed to others (mode 700), and the checkout, the data or even the
interpreter lie in it. Nobody's permissions are changed: the program gets a mount namespace of its
own in which each closed folder is an empty one, with only the needed folders put back in place.
Stands alone (standard library, no imports of ours) so that it starts in a few milliseconds.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import stat
import sys
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> None:
    """Never returns: becomes the program."""
    arguments = _parse(argv)
    user = pwd.getpwnam(arguments.user)
    needs = [Path(need).resolve() for need in arguments.need]
    closed = closed_folders(needs, uid=user.pw_uid, gid=user.pw_gid)
    if closed:
        _cover(closed, needs=needs)
    os.chdir(needs[0])
    _become(user)
    os.execvp(arguments.program[0], arguments.program)  # noqa: S606 - a list, no shell


def closed_folders(needs: list[Path], *, uid: int, gid: int) -> list[Path]:
    """The outermost folders on the way to ``needs`` that this user may not pass through."""
    closed: list[Path] = []
    for need in needs:
        for folder in reversed(need.parents):
            if folder in closed:
                break
            if not _may_pass(folder.stat(), uid=uid, gid=gid):
                closed.append(folder)
                break
    return closed


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="enter")
    parser.add_argument("--user", required=True)
    parser.add_argument("--need", action="append", required=True)
    parser.add_argument("program", nargs="+")
    return parser.parse_args(argv)


def _may_pass(info: os.stat_result, *, uid: int, gid: int) -> bool:
    if info.st_uid == uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)


def _cover(closed: list[Path], *, needs: list[Path]) -> None:
    _check(_libc.unshare(_CLONE_NEWNS), "a mount namespace")
    # Slave, not private: what the machine unmounts later must not stay busy in here.
    _mount("none", "/", flags=_MS_REC | _MS_SLAVE)
    held = {need: os.open(need, os.O_PATH | os.O_DIRECTORY) for need in needs}
    for folder in closed:
        _mount("tmpfs", str(folder), kind="tmpfs", options="mode=755,size=1m")
        for need, handle in held.items():
            if folder in need.parents:
                need.mkdir(parents=True, exist_ok=True)
                _mount(f"/proc/self/fd/{handle}", str(need), flags=_MS_BIND | _MS_REC)
    for handle in held.values():
        os.close(handle)


def _become(user: pwd.struct_passwd) -> None:
    os.setgroups([user.pw_gid])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    os.environ.update(HOME="/nonexistent", USER=user.pw_name, LOGNAME=user.pw_name)


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode() or None, flags, options.encode())
    _check(_libc.mount(*arguments), f"a mount on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Could not make {what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
