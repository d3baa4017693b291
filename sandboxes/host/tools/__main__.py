"""``python -m sandboxes.host.tools fetch [--strict] [--dir TEMPLATES] [NAME…]``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from sandboxes.host.images.workspace import say
from sandboxes.host.tools.catalog import TOOLS, folder_of
from sandboxes.host.tools.later import ToolError, later_suite


def main() -> int:
    """0 without ``--strict``, whatever could be had: the platform works without."""
    parser = argparse.ArgumentParser(prog="python -m sandboxes.host.tools")
    parser.add_argument("action", choices=["fetch"])
    known = {tool.name: tool for tool in TOOLS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--dir", default=os.environ.get("ORKESTR_TEMPLATES_DIR"))
    parser.add_argument("--strict", action="store_true", help="fail when any cannot be had")
    options = parser.parse_intermixed_args()
    if not options.dir:
        parser.error("say where: --dir or ORKESTR_TEMPLATES_DIR")
    if unknown := set(options.names) - set(known):
        parser.error(f"there is no tool {', '.join(sorted(unknown))}")
    os.umask(0o022)
    directory = folder_of(Path(options.dir).resolve())
    failed = False
    for name in options.names or known:
        started = time.monotonic()
        try:
            folder = later_suite(known[name], directory)
            say(f"{name}: {folder.name} ({time.monotonic() - started:.1f} s)")
        except ToolError as error:
            failed = True
            say(f"{name}: cannot be had. {error}")
    return int(failed and options.strict)


if __name__ == "__main__":
    sys.exit(main())
