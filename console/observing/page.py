"""``/metrics``: the services' own counts, what is looked up now, and what the host says."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
from pathlib import Path

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from accounts.database import in_database
from console import health
from console.observing.backlog import Found, look_at_postgres, look_at_redis
from sandboxes.host.client import HostClient

_LIMIT_SECONDS = 4
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")
_log = structlog.get_logger(__name__)


async def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics of this installation, to whoever may read them; 404 to others."""
    if not may_read(request):
        return HttpResponse("Not found.\n", status=404, content_type="text/plain")
    found = Found()
    host, *_ = await asyncio.gather(_host(found), _redis(found), _postgres(found))
    text = await asyncio.to_thread(_services, found)
    return HttpResponse(text + host, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def may_read(request: HttpRequest) -> bool:
    """The bearer of ORKESTR_METRICS_TOKEN; where none is set, this machine itself.

    A reverse proxy on this machine calls from it too, so nothing that was forwarded counts.
    """
    token: str = settings.ORKESTR_METRICS_TOKEN
    if token:
        given = request.META.get("HTTP_AUTHORIZATION", "")
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    if any(name in request.META for name in _FORWARDED):
        return False
    host, _ = split_domain_port(request.META.get("HTTP_HOST", ""))
    return _is_loopback(request.META.get("REMOTE_ADDR", "")) and (
        host == "localhost" or _is_loopback(host.strip("[]"))
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def _host(found: Found) -> bytes:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            text = await HostClient(settings.ORKESTR_HOST_SOCKET).prometheus()
    except Exception as error:  # whatever is wrong with a part, the rest is still worth having
        _down(found, "host", error)
        return b""
    found.parts["host"] = True
    return text


async def _redis(found: Found) -> None:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS), health.redis_client() as redis:
            await look_at_redis(redis, found)
            found.parts.update(await health.background(redis))
    except Exception as error:
        _down(found, "redis", error)
        return
    found.parts["redis"] = True


async def _postgres(found: Found) -> None:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await in_database(look_at_postgres, found)
    except Exception as error:
        _down(found, "postgres", error)
        return
    found.parts["postgres"] = True


def _down(found: Found, part: str, error: Exception) -> None:
    found.parts[part] = False
    _log.warning("part_down", part=part, error=repr(error))


def _services(found: Found) -> bytes:
    """With PROMETHEUS_MULTIPROC_DIR of all processes on this machine, without of this one."""
    looked_up = CollectorRegistry()
    looked_up.register(found)
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    counted = REGISTRY
    if folder:
        _forget_the_dead(Path(folder))
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    return generate_latest(counted) + generate_latest(looked_up)


def _forget_the_dead(folder: Path) -> None:
    """A process that was killed has no open sockets any more, though nobody counted them down."""
    pids = {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*_*.db")}
    for pid in pids:
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]
