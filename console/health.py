"""`/healthz`: this process answers. `/readyz`: so does all it needs, or which part does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from redis.asyncio import Redis

from accounts.database import in_database
from sandboxes.host.client import HostClient

_log = structlog.get_logger(__name__)
_LIMIT_SECONDS = 3


async def healthz(_: HttpRequest) -> JsonResponse:
    """200 as long as this process can answer; asks nobody else."""
    return JsonResponse({"status": "ok"})


async def readyz(_: HttpRequest) -> JsonResponse:
    """200 when every part answers, else 503; ``parts`` says ``ok`` or ``down`` for each."""
    checks = {"postgres": _postgres, "redis": _redis, "host": _host}
    answers = await asyncio.gather(*(_answers(name, check) for name, check in checks.items()))
    parts = dict(zip(checks, ("ok" if ok else "down" for ok in answers), strict=True))
    ready = all(answers)
    return JsonResponse(
        {"status": "ok" if ready else "down", "parts": parts}, status=200 if ready else 503
    )


async def _answers(name: str, check: Callable[[], Awaitable[None]]) -> bool:
    try:
        await asyncio.wait_for(check(), _LIMIT_SECONDS)
    except Exception as error:  # whatever is wrong with a part, the answer is that it is down
        _log.warning("part_down", part=name, error=repr(error))
        return False
    return True


async def _postgres() -> None:
    await in_database(_select_one)


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _redis() -> None:
    async with Redis.from_url(settings.REDIS_URL, socket_timeout=_LIMIT_SECONDS) as redis:
        await redis.ping()


async def _host() -> None:
    await HostClient(settings.ORKESTR_HOST_SOCKET).ping()
