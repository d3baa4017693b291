"""A worker's tail in a process of its own, for tests that kill it. Ends on TERM."""

from __future__ import annotations

import os
import signal
import sys
import threading

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.settings"
    django.setup()
    from timeline.bootstep import make_tail

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    tail = make_tail()
    tail.start()
    ended.wait()
    sys.exit(0 if tail.stop() else "the tail did not stop")


if __name__ == "__main__":
    main()
