"""Where an instance keeps what. An instance is a data folder; everything else follows from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from console.launch.say import Problem

SERVICE_USER = "orkestr"
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with what was asked for
_HIGHEST_PORT = 65535
_MOST = 64  # processes of a kind
_LOWEST_PORT = 1024  # below it the unprivileged server may not listen


@dataclass(frozen=True)
class Layout:
    """Absolute, resolved paths of one instance."""

    root: Path
    data: Path
    templates: Path

    @property
    def instance(self) -> str:
        """Eight hex digits that differ between data folders; names its run folder and processes."""
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:8]

    @property
    def run(self) -> Path:
        """Sockets. Short, because a unix socket's path ends at 107 bytes."""
        return Path("/run") / f"orkestr-{self.instance}"

    @property
    def venv_python(self) -> Path:
        return self.root / ".venv" / "bin" / "python"

    @property
    def logs(self) -> Path:
        return self.data / "log"

    @property
    def pids(self) -> Path:
        return self.data / "run"

    @property
    def host(self) -> Path:
        return self.data / "host"

    @property
    def postgres(self) -> Path:
        return self.data / "postgres"

    @property
    def valkey(self) -> Path:
        return self.data / "valkey"

    @property
    def static(self) -> Path:
        return self.data / "static"

    @property
    def metrics(self) -> Path:
        """What each process of the services counts, for whichever is asked for all of it."""
        return self.run / "metrics"

    @property
    def scratch(self) -> Path:
        """Small files that the service user writes: beat's schedule."""
        return self.data / "scratch"

    @property
    def dev_env(self) -> Path:
        return self.data / "dev.env"

    @property
    def secrets(self) -> Path:
        return self.data / "secrets.env"

    @property
    def host_socket(self) -> Path:
        return self.run / "host.sock"


@dataclass(frozen=True)
class Options:
    """What the person asked for, read from the environment once."""

    layout: Layout
    host: str
    port: int
    database_url: str
    redis_url: str
    base_url: str
    servers: int = 1
    workers: int = 1

    @property
    def is_postgres_embedded(self) -> bool:
        return not self.database_url

    @property
    def is_valkey_embedded(self) -> bool:
        return not self.redis_url


def options_from(environ: Mapping[str, str], *, root: Path) -> Options:
    """Raises ``Problem`` for a port that cannot be one."""
    root = root.resolve()
    data = (root / (environ.get("DATA") or "var")).resolve()
    templates = Path(environ.get("ORKESTR_TEMPLATES_DIR") or data / "templates")
    host = environ.get("HOST") or "127.0.0.1"
    port = _port(environ.get("PORT") or "8000")
    return Options(
        layout=Layout(root=root, data=data, templates=(root / templates).resolve()),
        host=host,
        port=port,
        database_url=environ.get("DATABASE_URL", ""),
        redis_url=environ.get("REDIS_URL", ""),
        # Not ORKESTR_BASE_URL: who has sourced some dev.env means that instance, not this one.
        servers=_count(environ, "SERVERS"),
        workers=_count(environ, "WORKERS"),
        base_url=(environ.get("BASE_URL") or f"http://{_address(host)}:{port}").rstrip("/"),
    )


def checkout() -> Path:
    """The folder this code lies in."""
    return Path(os.path.realpath(__file__)).parents[2]


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and _LOWEST_PORT <= int(text) <= _HIGHEST_PORT:
        return int(text)
    raise Problem(
        f"PORT={text} is not a port the unprivileged server may listen on.",
        advice=f"Take one from {_LOWEST_PORT} to {_HIGHEST_PORT}: PORT=9000 make up",
    )


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name) or "1"
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST:
        return int(text)
    raise Problem(
        f"{name}={text} is not a number from 1 to {_MOST}.", advice=f"For instance: {name}=2"
    )


def _address(host: str) -> str:
    """What a person on this machine types for it."""
    if host in EVERY_ADDRESS:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
