"""The protocol's own programs for Node, pinned in package.json and installed for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.node import MODULES, node

INSPECTOR: Final = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
CONFORMANCE: Final = "@modelcontextprotocol/conformance/dist/index.js"


def run(program: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """With a home folder of its own, and no longer than two minutes."""
    return subprocess.run(
        [str(node()), str(MODULES / program), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
