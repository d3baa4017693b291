"""Deliveries are rows, made in the transaction of the change they tell about.

So one is there exactly when the change is, whatever dies next. Sending is somebody else's part:
``wake`` tells the workers at once, and the sweep finds what nobody was told of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from accounts.ids import new_id
from sandboxes.api.replies import sandbox_json
from sandboxes.models import ENDED, Sandbox, Status
from sandboxes.webhooks.kinds import TEST_EVENT, EventType
from sandboxes.webhooks.models import Delivery, Webhook
from timeline.live import client

logger = logging.getLogger(__name__)

TASK: Final = "sandboxes.webhooks.send"
_TIME_IS_UP: Final = ("expired", "paused_expired")
_WOKEN: Final = "webhooks:woken"
_WOKEN_MS: Final = 2000

_WANTING: Final = """
SELECT id FROM webhooks_webhook
WHERE account_id = %s AND active AND (event_types IS NULL OR %s = ANY(event_types))
ORDER BY id FOR KEY SHARE
"""


def sandbox_changed(sandbox: Sandbox, *, was: str) -> None:
    """Call it in the transaction that moves ``sandbox`` from the status ``was`` to its own."""
    sandboxes_changed([sandbox], was=was)


def sandboxes_changed(sandboxes: Iterable[Sandbox], *, was: str) -> None:
    """As ``sandbox_changed``, for several that were moved together: who wants it is asked once."""
    wanting: dict[tuple[str, EventType], list[str]] = {}
    for sandbox in sandboxes:
        kind = _kind(sandbox, was)
        if kind is None:
            continue
        key = (sandbox.account_id, kind)
        if key not in wanting:
            wanting[key] = _wanting(*key)
        if wanting[key]:
            data = {"sandbox_id": sandbox.id, "sandbox": _shown(sandbox)}
            _make(wanting[key], kind, subject=sandbox.id, data=data)


def _shown(sandbox: Sandbox) -> dict[str, Any]:
    """As the API shows it, without what opens it, and with why it ended."""
    shown = {**sandbox_json(sandbox), "reason": sandbox.reason, "detail": sandbox.detail}
    shown.pop("preview_auth_token", None)
    return shown


def _kind(sandbox: Sandbox, was: str) -> EventType | None:
    """A sandbox that never ran is nobody's news: who asked for it was told.

    A failed one is ``terminated`` to the wire, which has no word of its own; its status says it.
    Nor is it news that a pause or a resume did not come about.
    """
    now = sandbox.status
    if now == was or sandbox.started_at is None:
        return None
    if now == Status.RUNNING:
        return EventType.SANDBOX_CREATED if was == Status.STARTING else _woken_up(was)
    if now == Status.PAUSED:
        return EventType.SANDBOX_PAUSED if was != Status.RESUMING else None
    if now in ENDED:
        expired = sandbox.reason in _TIME_IS_UP
        return EventType.SANDBOX_EXPIRED if expired else EventType.SANDBOX_TERMINATED
    return None


def _woken_up(was: str) -> EventType | None:
    return EventType.SANDBOX_RESUMED if was != Status.PAUSING else None


def record(
    *, account_id: str, kind: EventType, subject: str, data: Callable[[], Mapping[str, Any]]
) -> int:
    """A delivery for each of the account's webhooks that wants ``kind``; how many there are.

    ``subject`` is the id of what it is about; ``data`` is asked for when somebody wants it.
    Call it in the transaction of the change.
    """
    hooks = _wanting(account_id, kind)
    if hooks:
        _make(hooks, kind, subject=subject, data=data())
    return len(hooks)


def _make(hooks: Sequence[str], kind: EventType, *, subject: str, data: Mapping[str, Any]) -> None:
    event_id = new_id("evt")
    body = _body(event_id, kind, data)
    Delivery.objects.bulk_create(
        Delivery(webhook_id=one, event_id=event_id, event_type=kind, subject=subject, body=body)
        for one in hooks
    )
    wake_on_commit()


def delivery_of_test(hook: Webhook) -> Delivery:
    """A delivery that tells of nothing, sent once the transaction has committed."""
    event_id = new_id("evt")
    body = _body(event_id, TEST_EVENT, {"webhook_id": hook.id})
    wake_on_commit()
    return Delivery.objects.create(
        webhook=hook, event_id=event_id, event_type=TEST_EVENT, subject=hook.id, body=body
    )


def _wanting(account_id: str, kind: EventType) -> list[str]:
    """Held until the transaction ends: a webhook that is deleted meanwhile must not fail it."""
    with connection.cursor() as cursor:
        cursor.execute(_WANTING, [account_id, kind.value])
        return [row[0] for row in cursor.fetchall()]


def _body(event_id: str, kind: str, data: Mapping[str, Any]) -> str:
    """``event`` is the older word for ``type``."""
    payload = {
        "id": event_id,
        "type": str(kind),
        "event": str(kind),
        "created_at": timezone.now().isoformat(),
        "data": data,
    }
    return orjson.dumps(payload).decode()


def wake_on_commit() -> None:
    """``wake`` once the surrounding transaction has committed."""
    transaction.on_commit(wake)


def wake() -> None:
    """Have a worker look at what is due. A thousand calls at once become one message.

    Costs a millisecond, never waits for a Redis that is away, and may be lost: the sweep comes.
    """
    try:
        if client(settings.REDIS_URL).set(_WOKEN, 1, nx=True, px=_WOKEN_MS):
            current_app.send_task(TASK, retry=False)
    except (RedisError, OperationalError) as error:
        logger.warning("webhooks are sent later, the broker is away: %s", error)


def awake() -> None:
    """A worker is looking: whoever has something from now on shall wake one again."""
    try:
        client(settings.REDIS_URL).delete(_WOKEN)
    except RedisError as error:
        logger.warning("the webhooks' mark was not taken away: %s", error)
