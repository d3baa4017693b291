"""CRIU as runc is to find it, and the place where what it restored waits before it runs.

runc looks for ``criu`` on its PATH. Ours runs through the loader and the libraries that came with
it, so what is on the PATH is a wrapper in the host's stage.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sandboxes.host.mounts import IDS
from sandboxes.host.oci import VOLUME
from sandboxes.host.tools import later
from sandboxes.host.tools.catalog import CRIU, criu_command, criu_trouble

#: Deleted files that are still open are kept to 512 MB each. Nothing is gained by closing the
#: network meanwhile: everything stands still, and a copy has a network of its own.
_OPTIONS = ("ghost-limit 536870912", "link-remap", "network-lock skip", "skip-in-flight")
_WORD_SECONDS = 15
#: Of an image: the bytes before its message; in the message of a process's memory: the tag of the
#: field that says who may look into it; and of a tag, the kind that is a number.
_HEAD, _DUMPABLE, _VARINT = 12, 15 << 3, 0
#: Addresses that connections had are anybody's while they are restored, and gone before they run.
_SCRIPT = """#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
inside() { nsenter --target "$CRTOOLS_INIT_PID" --net "$@"; }
case $CRTOOLS_SCRIPT_ACTION in
setup-namespaces)
    inside ip link set lo up && inside ip route add local default dev lo table local
    ;;
post-restore)
    inside ip route del local default dev lo table local
    exec bash -c '
        exec 8<>"$CRTOOLS_IMAGE_DIR/asks" 9<>"$CRTOOLS_IMAGE_DIR/word"
        echo "$CRTOOLS_INIT_PID" >&8
        read -r -t SECONDS_TO_WAIT -u 9 word
        [ "$word" = go ]'
    ;;
esac
""".replace("SECONDS_TO_WAIT", str(_WORD_SECONDS))

_ERROR = re.compile(r"Error \([^)]*\): (.*)")
#: What it says when it fails because something before has failed.
_AFTERTHOUGHTS = ("FAILED", "cgroupd", "RLIMIT_NOFILE", "failed with")


class Criu:
    """The one program of a host. ``prepare`` comes first, once the stage is there."""

    def __init__(self, tools: Path, stage: Path, *, wanted: bool = True) -> None:
        self._tools = tools
        self._stage = stage
        self._trouble: str | None = "CRIU is not set up." if wanted else "It is switched off here."
        self._wanted = wanted

    @property
    def folder(self) -> Path:
        """What belongs first on runc's PATH."""
        return self._stage / "criu"

    def options(self, *, restored: bool) -> Path:
        """The file of options that a container's configuration names.

        A volume came into a container after its start; in a restored one runc knows of it.
        """
        return self.folder / ("options-restored" if restored else "options")

    def prepare(self) -> None:
        """Find and try it. Takes a tenth of a second."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        script = self.folder / "script"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        options = (*_OPTIONS, f"action-script {script}")
        for restored, more in ((True, ()), (False, (f"external mnt[{VOLUME}]:{VOLUME}",))):
            text = "\n".join((*options, *more)) + "\n"
            self.options(restored=restored).write_text(text)
        found = later.find(CRIU, self._tools)
        if not self._wanted:
            return
        if found is None:
            self._trouble = later.reason(CRIU, self._tools)
            return
        wrapper = self.folder / "criu"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(criu_command(found))} "$@"\n')
        wrapper.chmod(0o755)
        self._trouble = criu_trouble(found)

    def trouble(self) -> str | None:
        """Why memory cannot be written to disk here, as a sentence; None when it can."""
        return self._trouble

    @contextmanager
    def restoring(self, images: Path, *, base: int) -> Iterator[Restoring]:
        """What one restore of ``images`` takes, for owners' ids that begin at ``base``."""
        # Beside the images, by hard links: whoever reads them there has no way in by a path.
        with TemporaryDirectory(dir=images.parent, prefix="restoring-") as name:
            restoring = Restoring(Path(name))
            restoring.images.mkdir()
            for image in images.iterdir():
                copy = restoring.images / image.name
                if image.name.startswith("userns-"):
                    copy.write_bytes(_mapped(image.read_bytes(), base))
                elif image.name == "mm-1.img":
                    copy.write_bytes(_private(image.read_bytes()))
                else:
                    copy.hardlink_to(image)
            for fifo in (restoring.asks, restoring.word):
                os.mkfifo(fifo, 0o600)
            yield restoring


@dataclass(frozen=True, slots=True)
class Restoring:
    """One restore's folder."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def asks(self) -> Path:
        """Where PID 1's id is told once all is restored."""
        return self.images / "asks"

    @property
    def word(self) -> Path:
        """Where it waits for its host's word."""
        return self.images / "word"

    def pass_gate(self, pidfd: int, ready: Callable[[int], None], *, seconds: float) -> None:
        """Call ``ready`` with PID 1's id once all is restored and nothing runs, then let it run.

        Returns without a call when the runtime behind ``pidfd`` ends before. When ``ready`` raises
        nothing ever runs. A host that dies in here lets nothing run either.
        """
        asks = os.open(self.asks, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        word = os.open(self.word, os.O_RDWR | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(asks, select.POLLIN)
            poll.register(pidfd, select.POLLIN)
            heard = dict(poll.poll(seconds * 1000))
            if asks not in heard:
                return
            answer = b"no\n"
            try:
                ready(int(os.read(asks, 64)))
                answer = b"go\n"
            finally:
                os.write(word, answer)
                # The pipe lives as long as the script has it open.
                poll.unregister(asks)
                poll.poll(seconds * 1000)
        finally:
            os.close(asks)
            os.close(word)


def complaint(log: Path) -> str:
    """The first thing CRIU could not do, of those that the others follow from."""
    with suppress(OSError):
        found = _ERROR.findall(log.read_text(errors="replace"))
        told = [line for line in found if not any(word in line for word in _AFTERTHOUGHTS)]
        if told or found:
            return str((told or found)[0])[:300]
    return "CRIU did not say why"


def _mapped(image: bytes, base: int) -> bytes:
    """The image of a user namespace, whose ids begin at ``base`` instead.

    Two magic numbers, a length, and a protocol buffers message of two lists of extents.
    """
    extent = b"".join(bytes([tag]) + _varint(n) for tag, n in ((8, 0), (16, base), (24, IDS)))
    body = b"".join(bytes([tag, len(extent)]) + extent for tag in (0x0A, 0x12))
    return image[:8] + struct.pack("<I", len(body)) + body


def _private(image: bytes) -> bytes:
    """The image of PID 1's memory, into which nobody with its ids may look from the first moment.

    Magic numbers and a length as above, then fields, of which one is this number of one byte.
    """
    out, at = bytearray(image), _HEAD
    while at < len(out):
        tag, at = _number(out, at)
        if tag == _DUMPABLE:
            out[at] = 0
        if tag & 7 == _VARINT:
            _, at = _number(out, at)
        else:  # the only other kind in there: so many bytes
            size, at = _number(out, at)
            at += size
    return bytes(out)


def _number(data: bytearray, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
