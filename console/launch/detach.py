"""`make up DETACH=1`: the start is watched by the terminal, the rest goes on without it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType


class Detached:
    """Forks. The parent waits for the child to be ready or to fail; the child does the work."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._reader, self._writer = os.pipe()
        self._child = os.fork()
        self.is_parent = self._child != 0
        if self.is_parent:
            os.close(self._writer)
        else:
            os.close(self._reader)
            os.setsid()

    def wait(self) -> int:
        """Parent: 0 once the child is ready, else the child's exit code."""

        def forward(number: int, _frame: FrameType | None) -> None:
            os.kill(self._child, number)

        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, forward)
        if os.read(self._reader, 1):
            return 0
        _, status = os.waitpid(self._child, 0)
        return os.waitstatus_to_exitcode(status) or 1

    def is_ready(self, *, log: Path) -> None:
        """Child: lets the parent go and writes to ``log`` from now on."""
        sys.stdout.flush()
        sys.stderr.flush()
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.write(self._writer, b"!")
        os.close(self._writer)
