"""`/healthz`: this process answers. `/readyz`: so does all it needs, or which part does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from redis.asyncio import Redis

from accounts.database import in_database
from sandboxes.host.client import HostClient
from sandboxes.reaper import HEARTBEAT
from timeline.leases import WORKERS

#: Beat asks for a round of the reaper each second; a busy worker may let some pass.
LATE_SECONDS: Final = 30
_LIMIT_SECONDS: Final = 3
_log = structlog.get_logger(__name__)


async def healthz(_: HttpRequest) -> JsonResponse:
    """200 as long as this process can answer; asks nobody else."""
    return JsonResponse({"status": "ok"})


async def readyz(_: HttpRequest) -> JsonResponse:
    """200 when every part that this process needs answers, else 503.

    ``parts`` says ``ok`` or ``down`` for each. With ``worker`` or ``beat`` down the console still
    serves, so ``status`` is ``degraded`` and the answer 200: events wait, nothing is lost.
    """
    checks = {"postgres": _postgres, "redis": _redis, "host": _host}
    behind, answers = await asyncio.gather(
        _background(),
        asyncio.gather(*(_answers(name, check) for name, check in checks.items())),
    )
    needed = dict(zip(checks, answers, strict=True))
    parts = {name: "ok" if ok else "down" for name, ok in {**needed, **behind}.items()}
    if not all(answers):
        return JsonResponse({"status": "down", "parts": parts}, status=503)
    status = "ok" if all(behind.values()) else "degraded"
    return JsonResponse({"status": status, "parts": parts})


async def _answers(name: str, check: Callable[[], Awaitable[None]]) -> bool:
    try:
        await asyncio.wait_for(check(), _LIMIT_SECONDS)
    except Exception as error:  # whatever is wrong with a part, the answer is that it is down
        _log.warning("part_down", part=name, error=repr(error))
        return False
    return True


async def _background() -> dict[str, bool]:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS), redis_client() as redis:
            return await background(redis)
    except Exception:  # that Redis is away is told as such
        return {"worker": False, "beat": False}


async def background(redis: Redis) -> dict[str, bool]:
    """Whether a worker tails and whether beat's rounds are run. Raises ``RedisError``."""
    newest: Any = await redis.zrange(WORKERS, -1, -1, withscores=True)
    beat: Any = await redis.get(HEARTBEAT)
    tailed = newest[0][1] / 1000 if newest else 0.0
    now = time.time()
    return {
        "worker": now - tailed < LATE_SECONDS,
        "beat": now - float(beat or 0) < LATE_SECONDS,
    }


def redis_client() -> Redis:
    """A connection of its own, to be closed; gives up soon."""
    return Redis.from_url(settings.REDIS_URL, socket_timeout=_LIMIT_SECONDS)


async def _postgres() -> None:
    await in_database(_select_one)


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _redis() -> None:
    async with redis_client() as redis:
        await redis.ping()


async def _host() -> None:
    await HostClient(settings.ORKESTR_HOST_SOCKET).ping()
