"""The Node that is pinned in package.json, and where its packages are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from console.launch.layout import checkout

MODULES: Final = checkout() / "node_modules"


def node() -> Path:
    """The pinned one: the distribution's may be older than what is run with it asks for."""
    found = next(MODULES.glob("node-linux-*/bin/node"), None)
    assert found, "There is no Node in node_modules; `make install-tests` puts it there."
    return found
