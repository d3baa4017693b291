"""An agent-like session through the official client, so that a newcomer sees a timeline come alive.

It plays the loop a coding agent runs: look around, write code, run its tests, fail once, read the
failure, mend the code, run again, then stream a longer build. Everything happens in one sandbox of
the instance that ``ORKESTR_BASE_URL`` and ``ORKESTR_API_KEY`` name; ``make demo`` sets both.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import time
from collections.abc import Iterator

from orkestr import Sandbox
from orkestr.errors import OrkestrError

WORDS_FIRST_TRY = '''
"""Count words the way a reader would."""


def count(text: str) -> dict[str, int]:
    totals: dict[str, int] = {}
    for word in text.split():
        totals[word] = totals.get(word, 0) + 1
    return totals
'''

WORDS_MENDED = '''
"""Count words the way a reader would: case and punctuation do not make a new word."""

import re


def count(text: str) -> dict[str, int]:
    totals: dict[str, int] = {}
    for word in re.findall(r"[\\w']+", text.lower()):
        totals[word] = totals.get(word, 0) + 1
    return totals
'''

TESTS = """
import unittest

from words import count


class Words(unittest.TestCase):
    def test_it_counts_repeats(self):
        self.assertEqual(count("a b a")["a"], 2)

    def test_it_ignores_case_and_punctuation(self):
        self.assertEqual(count("Run, run! RUN.")["run"], 3)

    def test_it_keeps_apostrophes(self):
        self.assertEqual(count("don't")["don't"], 1)


unittest.main(verbosity=2)
"""

BUILD = r"""
set -e
blue=$'\033[1;34m'; green=$'\033[32m'; yellow=$'\033[33m'; off=$'\033[0m'
for step in fetch compile link test package; do
  echo "${blue}==> $step${off}"
  for part in $(seq 1 8); do
    printf '    %s unit %d/8 ' "$step" "$part"
    head -c 3000000 /dev/urandom | sha256sum | cut -c1-16
    sleep 0.3
  done
  [ "$step" = link ] && echo "${yellow}    warning: 2 symbols unused${off}" >&2
done
mkdir -p dist && tar czf dist/words.tar.gz words.py test_words.py
echo "${green}built dist/words.tar.gz ($(stat -c %s dist/words.tar.gz) bytes)${off}"
"""


#: About as long as a model takes to say what to do next; without it there is little to watch.
THINKING_SECONDS = 1.5


def say(text: str) -> None:
    """One line of narration on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(sandbox: Sandbox, command: str) -> int:
    """Run one command, show it and the last lines of what it printed; return its exit code."""
    time.sleep(THINKING_SECONDS)
    say(f"\n$ {command}")
    result = sandbox.exec(command, timeout_seconds=60)
    shown = (result.stdout + result.stderr).rstrip()
    say(textwrap.indent("\n".join(shown.splitlines()[-12:]), "  "))
    say(f"  exit {result.exit_code} in {result.duration_ms} ms")
    return int(result.exit_code)


def stream(chunks: Iterator[object]) -> None:
    """Print a streamed command as it goes."""
    for chunk in chunks:
        sys.stdout.write(getattr(chunk, "data", ""))
        sys.stdout.flush()


def session(sandbox: Sandbox) -> None:
    """The agent's run, from an empty folder to a built package."""
    run(sandbox, "python3 --version && uname -sr && df -h /workspace | tail -1")
    say("\nwriting words.py and its tests")
    time.sleep(THINKING_SECONDS)
    sandbox.files.write("/workspace/words.py", WORDS_FIRST_TRY)
    sandbox.files.write("/workspace/test_words.py", TESTS)
    if run(sandbox, "python3 test_words.py") != 0:
        say("\nthe tests fail: reading the code again, and mending it")
        sandbox.files.read("/workspace/words.py")
        sandbox.files.write("/workspace/words.py", WORDS_MENDED)
        run(sandbox, "python3 test_words.py")
    run(sandbox, "ls -la --color=always /workspace")
    say("\n$ ./build.sh   (streamed)")
    sandbox.files.write("/workspace/build.sh", BUILD, mode=0o755)
    stream(sandbox.exec_stream("bash ./build.sh", timeout_seconds=120))
    artifact = sandbox.files.read_bytes("/workspace/dist/words.tar.gz")
    say(f"read the artifact back: {len(artifact)} bytes")


def main() -> int:
    """Create a sandbox, print where to watch it, and run the session once it is being watched."""
    parser = argparse.ArgumentParser(description="Run an agent-like session to watch.")
    parser.add_argument("--keep", action="store_true", help="leave the sandbox running at the end")
    options = parser.parse_args()
    try:
        sandbox = Sandbox.create(
            template="python-3.12", timeout_seconds=900, metadata={"run": "demo", "agent": "words"}
        )
        say(f"watch it live: {os.environ['ORKESTR_BASE_URL']}/sandboxes/{sandbox.id}/")
        try:
            if sys.stdin.isatty():
                input("open that page, then press Enter here: ")
            session(sandbox)
        finally:
            if not options.keep:
                sandbox.terminate()
    except OrkestrError as error:
        say(f"the demo stopped: {error}")
        return 1
    say("\ndone: the page keeps the whole run")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
