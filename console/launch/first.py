"""The first stage of `make up`, on a bare Python: the machine, its packages, the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from console.launch import checks, environment, leftovers, node, packages, venv
from console.launch.layout import Options
from console.launch.processes import Records, age_seconds
from console.launch.say import Problem, line

_PASSED_BY_SUDO = (
    "PORT HOST DATA DETACH DATABASE_URL REDIS_URL LANG LC_ALL TZ SSL_CERT_FILE http_proxy "
    "https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ORKESTR_TEMPLATES_DIR BASE_URL "
    "ORKESTR_DEBUG ORKESTR_LOG_JSON ORKESTR_ALLOWED_HOSTS ORKESTR_ISOLATION TO FROM WORKERS SERVERS"
)
_NOT_RUNNING = 3  # what `status` of an init script answers


def up(options: Options) -> int:
    """Returns only when the instance runs already; otherwise becomes the second stage."""
    if Records(options.layout.pids).living(leftovers.SUPERVISOR) is not None:
        line(f"\n  It runs already: {options.base_url}   (`make status`, `make down`)\n")
        return 0
    line("\n  Orkestr console\n")
    _as_root_or_sudo()
    checks.machine(options)
    install(options)
    checks.readable(options.layout)
    _become_root(options, "run")
    raise AssertionError("unreachable")


def backup(options: Options) -> int:
    """Becomes the stage that writes it."""
    return _keep(options, "run-backup")


def restore(options: Options) -> int:
    """Becomes the stage that reads it; on a machine where nothing is installed yet, too."""
    _as_root_or_sudo()
    install(options)
    return _keep(options, "run-restore")


def _keep(options: Options, command: str) -> int:
    _as_root_or_sudo()
    if not options.layout.venv_python.exists():
        raise Problem("Nothing is installed here.", advice="Run `make up` once first.")
    _become_root(options, command)
    raise AssertionError("unreachable")


def install(options: Options) -> None:
    """Distribution and Python packages that an instance needs to run."""
    logs = options.layout.root / "var" / "log"
    packages.install(packages.to_run(), log=logs / "apt.log")
    venv.make(options.layout, lock="base.txt", log=logs / "pip.log")


def install_tests(options: Options) -> int:
    """What lint, tests and the front end need; pip and npm work beside each other."""
    _as_root_or_sudo()
    layout = options.layout
    logs = layout.root / "var" / "log"
    packages.install(packages.to_run() + packages.to_test(), log=logs / "apt.log")
    with ThreadPoolExecutor() as threads:
        begun = [
            threads.submit(venv.make, layout, lock="dev.txt", log=logs / "pip.log"),
            threads.submit(node.install, layout, log=logs / "npm.log"),
        ]
    for each in begun:
        each.result()
    return 0


def down(options: Options) -> int:
    """Stops everything that this data folder's `make up` started, and nothing else."""
    if os.geteuid() != 0:
        _as_root_or_sudo()
        _become_root(options, "down")
    stopped = leftovers.stop(options.layout)
    _end_sandboxes(options)
    shutil.rmtree(options.layout.run, ignore_errors=True)
    line(f"  Stopped: {', '.join(stopped)}." if stopped else "  Nothing was running.")
    return 0


def _end_sandboxes(options: Options) -> None:
    """Those that outlived a host which was killed; after an orderly stop there are none."""
    layout = options.layout
    if not layout.host.is_dir() or not layout.venv_python.exists():
        return
    command = [str(layout.venv_python), "-m", "sandboxes.host", "stop-all"]
    env = environment.of_host(options)
    with (layout.logs / "host.log").open("ab") as log:
        subprocess.run(command, env=env, cwd=layout.root, stdout=log, stderr=log, check=False)


def status(options: Options) -> int:
    """0 when all runs and answers, else 3."""
    records = Records(options.layout.pids)
    more = [name for name in leftovers.find(options.layout) if name[-1:].isdigit()]
    names = ("supervisor", "postgres", "valkey", "host", "worker", "beat", "asgi", *sorted(more))
    found = {name: records.living(name) for name in names}
    for name, identity in found.items():
        state = f"up {age_seconds(identity):8.0f} s   pid {identity.pid}" if identity else "–"
        line(f"  {name:<12} {state}")
    kept = environment.read_env(options.layout.dev_env)
    address = kept.get("ORKESTR_BASE_URL", options.base_url)
    parts = _settled(address) if found["supervisor"] else _readiness(address)
    line(f"\n  {address}   " + "  ".join(f"{key}: {parts[key]}" for key in sorted(parts)))
    is_well = found["supervisor"] is not None and set(parts.values()) == {"ok"}
    return 0 if is_well else _NOT_RUNNING


def _settled(address: str) -> dict[str, str]:
    """After a start it takes a moment until beat's first round was run."""
    for _ in range(10):
        parts = _readiness(address)
        if set(parts.values()) == {"ok"}:
            break
        time.sleep(1)
    return parts


def _readiness(address: str) -> dict[str, str]:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:  # noqa: S310
            return dict(json.load(answer)["parts"])
    except urllib.error.HTTPError as error:
        return dict(json.load(error)["parts"])
    except (OSError, ValueError, KeyError):
        return {"answer": "none"}


def _as_root_or_sudo() -> None:
    if os.geteuid() != 0 and checks.have("sudo"):
        return
    checks.root()


def _become_root(options: Options, command: str) -> None:
    """Never returns."""
    python = options.layout.venv_python if command.startswith("run") else sys.executable
    argv = [str(python), "-m", "console.launch", command]
    if os.geteuid() != 0:
        argv = ["sudo", f"--preserve-env={_PASSED_BY_SUDO.replace(' ', ',')}", *argv]
    os.chdir(options.layout.root)
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - a list, no shell
    except OSError as error:
        raise Problem(
            f"{argv[0]} could not be started: {error.strerror}.",
            advice="Remove the folder .venv and run it again.",
        ) from error
