"""``python -m sandboxes.host.egress``: the proxy's process. Started by the sandbox host only."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket

from sandboxes.host.egress import privileges
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.process import Process


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m sandboxes.host.egress", description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="listening control socket")
    parser.add_argument("--uid", type=int, required=True, help="user to run as when root")
    parser.add_argument("--limits", type=json.loads, default={}, help="limits as JSON")
    parser.add_argument("--orphan-seconds", type=float, default=300.0)
    parser.add_argument("--stage", help="the host's mounts below here are let go of")
    options = parser.parse_args()
    listener = socket.socket(fileno=options.control)
    limits = Limits(**options.limits).fitted()
    privileges.warm_up()
    if options.stage:
        privileges.let_go_of(options.stage)
    os.chdir("/")
    privileges.drop(options.uid)
    # The host stops it in order; a Ctrl-C in the host's terminal is not meant for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(listener, limits, options.orphan_seconds))


async def _serve(listener: socket.socket, limits: Limits, orphan_seconds: float) -> None:
    await Process(listener, limits=limits, orphan_seconds=orphan_seconds).run()


if __name__ == "__main__":
    main()
