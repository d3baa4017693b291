"""``python -m sandboxes.host.images build [--strict] [--dir DIR] [NAME…]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sandboxes.host import mounts
from sandboxes.host.images import builder
from sandboxes.host.images.store import NAMES, TemplateError
from sandboxes.host.images.workspace import say


def main() -> int:
    """0 when all could be had, or without ``--strict`` when at least one could."""
    parser = argparse.ArgumentParser(prog="python -m sandboxes.host.images")
    parser.add_argument("action", choices=["build"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--dir", default=os.environ.get("ORKESTR_TEMPLATES_DIR"))
    parser.add_argument("--strict", action="store_true", help="fail when any cannot be had")
    options = parser.parse_intermixed_args()
    if not options.dir:
        parser.error("say where: --dir or ORKESTR_TEMPLATES_DIR")
    if os.geteuid() != 0:
        say("Building templates needs root: their files belong to root.")
        return 1
    os.umask(0o022)
    mounts.own_mounts()
    names = options.names or list(NAMES)
    try:
        failures = builder.build(Path(options.dir).resolve(), names)
    except TemplateError as error:
        say(str(error))
        return 1
    return int(len(failures) == len(names) or (options.strict and bool(failures)))


if __name__ == "__main__":
    sys.exit(main())
