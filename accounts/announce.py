"""Control messages to running sockets and streams: something changed, something was revoked.

They are hints. Whoever gets one reads the database; whoever misses one is refused by it next time.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

from accounts.database import home_loop

logger = logging.getLogger(__name__)

CONTROL = "control"
"""The group that every running stream and socket listens to."""

_SEND_SECONDS = 2.0


def account_group(account_id: str) -> str:
    """The group of the pages that show one account."""
    return f"account.{account_id}"


def session_mark(session_key: str | None) -> str:
    """What control messages call a session: not the key, by which one could sign in."""
    return hashlib.sha256(f"session {session_key}".encode()).hexdigest()


def announce(*, group: str, message: dict[str, Any]) -> None:
    """Send ``message`` to ``group`` once the surrounding transaction has committed."""
    transaction.on_commit(functools.partial(_send, group, message))


def _send(group: str, message: dict[str, Any]) -> None:
    loop = home_loop.get()
    if loop is not None:
        asyncio.run_coroutine_threadsafe(_deliver(group, message), loop)
    else:
        async_to_sync(_deliver)(group, message)


async def _deliver(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await layer.group_send(group, message)
    except (OSError, RedisError, TimeoutError) as error:
        logger.warning("control message %s was not sent: %s", message.get("type"), error)
