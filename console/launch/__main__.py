"""`python3 -m console.launch up | down | status | backup | restore | install-tests`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from console.launch.layout import Options

OLDEST, NEWEST = (3, 11), (3, 13)


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, 1 for a problem that was explained, 3 for a stopped instance."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        print(_wrong_python(), file=sys.stderr)
        return 1
    from console.launch import say
    from console.launch.layout import checkout, options_from

    try:
        return _run(arguments[0] if arguments else "", options_from(os.environ, root=checkout()))
    except say.Problem as problem:
        say.problem(problem)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(command: str, options: Options) -> int:
    from console.launch import first

    if command == "run":
        from console.launch import second

        return second.run(options, detach=os.environ.get("DETACH", "") not in {"", "0"})
    if command in {"run-backup", "run-restore"}:
        from console.launch import keeping

        return keeping.COMMANDS[command](options, os.environ)
    commands = {
        "up": first.up,
        "down": first.down,
        "status": first.status,
        "backup": first.backup,
        "restore": first.restore,
        "install-tests": first.install_tests,
    }
    if command not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[command](options)


def _wrong_python() -> str:
    found = ".".join(str(number) for number in sys.version_info[:3])
    return (
        f"\n  ✗ Python {found} is not one of 3.11, 3.12 and 3.13.\n"
        "    Install one of them (Debian: apt-get install python3), or name it: "
        "make up PYTHON=/path/to/python3.12"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
