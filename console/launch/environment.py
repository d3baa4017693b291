"""The environment of an instance: its secrets, what each process is told, what a person gets."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path

from console.launch.layout import EVERY_ADDRESS, SERVICE_USER, Layout, Options
from console.launch.processes import INSTANCE_VARIABLE

_SECRET_NAMES = ("SECRET_KEY", "TOKEN_PEPPER")
# Everything else of the caller's environment stays outside.
_INHERITED = (
    *("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    # Which package registries the machine works from; sandboxes are pointed at the same.
    *("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"),
    *("UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS_JSON_URL", "UV_CONFIG_FILE"),
    *("NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_USERCONFIG"),
    *("ORKESTR_DEBUG", "ORKESTR_LOG_JSON", "ORKESTR_ALLOWED_HOSTS", "ORKESTR_READY_SANDBOXES"),
    "ORKESTR_PREVIEW_BASE",
    *("ORKESTR_ISOLATION", "ORKESTR_MEMORY_SNAPSHOTS"),
    *("ORKESTR_WEBHOOK_RETRY_SECONDS", "ORKESTR_WEBHOOK_TIMEOUT_SECONDS"),
)
# What the root daemon has no use for, secrets among it.
_FOR_SERVICES = (
    *(
        "ORKESTR_TRUSTED_PROXIES",
        "ORKESTR_LOG_REQUESTS",
        "ORKESTR_METRICS_TOKEN",
        "ORKESTR_QUIET_SECONDS",
    ),
    *("ORKESTR_OTLP_ENDPOINT", "ORKESTR_OTLP_HEADERS", "ORKESTR_OTLP_TIMEOUT_SECONDS"),
    *("ORKESTR_EMAIL_URL", "ORKESTR_EMAIL_FROM"),
)


def instance_secrets(layout: Layout) -> dict[str, str]:
    """Made at the first start and kept; losing them would end every session and token."""
    known = read_env(layout.secrets)
    missing = {name: secrets.token_urlsafe(48) for name in _SECRET_NAMES if not known.get(name)}
    if missing:
        write_env(layout.secrets, {**known, **missing})
    return {**known, **missing}


def database_url(options: Options) -> str:
    return options.database_url or embedded_database_url(options.layout, name="orkestr")


def embedded_database_url(layout: Layout, *, name: str) -> str:
    return f"postgresql://{SERVICE_USER}@/{name}?host={layout.run}"


def redis_url(options: Options) -> str:
    return options.redis_url or embedded_redis_url(options.layout)


def embedded_redis_url(layout: Layout) -> str:
    return f"unix://{layout.run}/valkey.sock?db=0"


def of_host(options: Options) -> dict[str, str]:
    """For the root daemon, which needs neither the database nor the secrets."""
    layout = options.layout
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        INSTANCE_VARIABLE: layout.instance,
        "REDIS_URL": redis_url(options),
        "ORKESTR_BASE_URL": options.base_url,
        "ORKESTR_HOST_SOCKET": str(layout.host_socket),
        "ORKESTR_HOST_DIR": str(layout.host),
        "ORKESTR_TEMPLATES_DIR": str(layout.templates),
        "ORKESTR_SERVICE_USER": SERVICE_USER,
    }


def of_services(options: Options, *, secret: Mapping[str, str]) -> dict[str, str]:
    """For ASGI, Celery and management commands."""
    return {
        **of_host(options),
        **{name: os.environ[name] for name in _FOR_SERVICES if name in os.environ},
        **{name: secret[name] for name in _SECRET_NAMES},
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "DATABASE_URL": database_url(options),
        "ORKESTR_STATIC_DIR": str(options.layout.static),
        "ORKESTR_ALLOWED_HOSTS": ",".join(_further_names(options)),
        # Who tries webhooks out listens on this machine.
        "ORKESTR_WEBHOOK_ALLOW_LOOPBACK": os.environ.get("ORKESTR_WEBHOOK_ALLOW_LOOPBACK", "1"),
    }


def of_counted(layout: Layout, env: Mapping[str, str]) -> dict[str, str]:
    """``env`` for a process that runs on, and whose counts belong into ``/metrics``."""
    return {**env, "PROMETHEUS_MULTIPROC_DIR": str(layout.metrics)}


def _further_names(options: Options) -> list[str]:
    """Who listens on every address answers to every one, unless told which names to answer to."""
    if chosen := os.environ.get("ORKESTR_ALLOWED_HOSTS"):
        return [chosen]
    if options.host not in EVERY_ADDRESS:
        return []
    import psutil  # in the virtual environment only, as is everyone who comes here

    families = {socket.AF_INET: "{}", socket.AF_INET6: "[{}]"}
    return [
        socket.gethostname(),
        *(
            families[socket.AddressFamily(row.family)].format(row.address.partition("%")[0])
            for rows in psutil.net_if_addrs().values()
            for row in rows
            if row.family in families
        ),
    ]


def read_env(path: Path) -> dict[str, str]:
    """Lines of ``NAME=value`` as a shell quotes them; an absent file is an empty one."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    words = (shlex.split(line, comments=True) for line in lines)
    pairs = (word[-1].partition("=") for word in words if word)
    return {name: value for name, separator, value in pairs if separator}


def write_env(path: Path, values: Mapping[str, str], *, export: bool = False) -> None:
    """Mode 600 from its first moment, and of the person who called sudo when one did."""
    prefix = "export " if export else ""
    text = "".join(f"{prefix}{name}={shlex.quote(value)}\n" for name, value in values.items())
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if export and os.geteuid() == 0 and "SUDO_UID" in os.environ:
        os.chown(new, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))
    new.replace(path)
