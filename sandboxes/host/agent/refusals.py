"""What the agent could not do, in words for the caller."""

from __future__ import annotations

import errno
import os

from sandboxes.host.agent.frames import Fields
from sandboxes.host.types import WRITABLE, HostError

_FILE: dict[int, tuple[str, str]] = {
    errno.ENOENT: ("no_such_file", "There is no {subject}; check the path."),
    errno.EISDIR: ("is_directory", "{Subject} is a directory; name a file."),
    errno.ENOTDIR: ("not_a_directory", "A part of {subject} is a file; name a directory."),
    errno.EEXIST: ("file_exists", "{Subject} exists already; choose another name."),
    errno.ENOTEMPTY: ("file_exists", "{Subject} exists already; choose another name."),
    errno.ENOSPC: ("no_space", "The sandbox's disk is full; delete something first."),
    errno.EDQUOT: ("no_space", "The sandbox's disk is full; delete something first."),
    errno.ENAMETOOLONG: ("name_too_long", "A name in {subject} is too long; shorten it."),
    errno.EACCES: ("not_permitted", "{Subject} may not be used; choose another path."),
    errno.EPERM: ("not_permitted", "{Subject} may not be used; choose another path."),
    errno.EROFS: ("not_permitted", "{Subject} is read-only; choose another path."),
    errno.EBUSY: ("not_permitted", "{Subject} is in use by the sandbox; choose another path."),
    errno.ELOOP: ("invalid", "{Subject} leads through too many links; name the file itself."),
    errno.EINVAL: ("invalid", "{Subject} cannot be moved into itself; choose another place."),
    errno.EXDEV: ("not_permitted", "A directory cannot be moved to another disk; copy it."),
    errno.EFBIG: ("too_large", "{Subject} is too large for one call; use a presigned URL."),
    errno.ENXIO: ("not_a_file", "{Subject} is not a regular file; name one."),
}
_COMMAND: dict[int, tuple[str, str]] = {
    errno.ESRCH: ("not_found", "There is no such command; list the commands."),
    errno.EEXIST: ("invalid", "A command with this id runs already; choose another id."),
    errno.EPIPE: ("invalid", "The command takes no input; start it with input."),
    errno.ENOTTY: ("invalid", "The command has no terminal; start it with one."),
}
_EXEC: dict[int, tuple[str, str]] = {
    errno.E2BIG: ("too_large", "The command and its env are too long; put them into a file."),
    errno.ENOENT: ("internal", "The sandbox has no shell at /bin/bash or /bin/sh; restore it."),
}


def refusal(payload: bytes, *, subject: str) -> HostError:
    """Turns an ERROR answer into the error for the caller. ``subject`` is the path, or its role."""
    fields = Fields(payload)
    stage, number = chr(fields.u8()), fields.u32()
    if stage == "o":
        places = ", ".join(WRITABLE)
        if subject.rstrip("/") in WRITABLE:
            message = f"{subject} itself stays as it is; name something below it."
        else:
            message = f"{subject} is outside of {places}; write under those."
        return HostError("not_permitted", message)
    if stage == "k":
        return HostError("not_a_file", f"{subject} is not a regular file; name one.")
    if stage == "n":
        return changed(subject)
    if stage == "f" and number == errno.EAGAIN:
        return HostError(
            "pids_exhausted",
            "The sandbox has too many processes; end some of them, or use a larger size.",
        )
    tables = {"p": _FILE, "l": _FILE, "d": _FILE, "c": _COMMAND, "x": _EXEC}
    code, message = tables.get(stage, {}).get(number, ("internal", ""))
    if not message:
        message = f"The sandbox refused {{subject}}: {_words(number)}; try again."
    named = f"working directory {subject}" if stage == "d" else subject
    return HostError(code, message.format(subject=named, Subject=named[:1].upper() + named[1:]))


def changed(path: str) -> HostError:
    """A file is not what whoever writes over it takes it for."""
    message = f"{path} was changed meanwhile; look at it before you write over it."
    return HostError("file_changed", message)


def _words(number: int) -> str:
    return os.strerror(number) if 0 < number < 4096 else "unknown error"
