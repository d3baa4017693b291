"""What is due, who is at it, and what came of it: the rows' side of sending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.services import audit_record
from sandboxes.webhooks.models import Attempt, Delivery, DeliveryStatus, Webhook
from sandboxes.webhooks.posting import BODY_KEPT, Outcome
from sandboxes.webhooks.signing import secret_of
from timeline.events import Actor

ATTEMPTS: Final = 4
"""The first and three more."""

FAILURES_MAX: Final = 20
"""So many deliveries given up in a row switch a webhook off."""

KEEP_DAYS: Final = 30
_PRUNE_BATCH: Final = 10_000
_WRITTEN: Final = (
    *("status", "attempts", "due_at", "claimed_until", "ended_at"),
    *("response_status", "response_body", "error", "duration_ms"),
)
_MARGIN_SECONDS: Final = 5.0
"""A claim outlasts its attempt by this, so that nobody begins another beside it."""

_CLAIM: Final = """
UPDATE webhooks_delivery SET claimed_until = %(until)s
WHERE id IN (
    SELECT due.id
    FROM webhooks_webhook w
    CROSS JOIN LATERAL (
        SELECT count(*) AS busy FROM webhooks_delivery d
        WHERE d.webhook_id = w.id AND d.status = 'pending' AND d.claimed_until > %(now)s
    ) now_at
    CROSS JOIN LATERAL (
        SELECT d.id, d.due_at FROM webhooks_delivery d
        WHERE d.webhook_id = w.id AND d.status = 'pending' AND d.due_at <= %(now)s
          AND (d.claimed_until IS NULL OR d.claimed_until <= %(now)s)
        ORDER BY d.due_at, d.id
        LIMIT greatest(0, %(each)s - now_at.busy)
        FOR UPDATE SKIP LOCKED
    ) due
    WHERE w.active
    ORDER BY due.due_at
    LIMIT %(room)s
)
RETURNING id, webhook_id, event_type, body, attempts
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """All that sending one takes. Nobody else sends it until the claim has run out."""

    id: str
    webhook_id: str
    event_type: str
    body: bytes
    attempt: int
    url: str
    secret: str


def anything_due() -> bool:
    """Whether ``claim`` would find something, unless others are at it."""
    now = timezone.now()
    due = Delivery.objects.filter(
        status=DeliveryStatus.PENDING, due_at__lte=now, webhook__active=True
    )
    return due.exclude(claimed_until__gt=now).exists()


def claim(*, room: int, each: int) -> list[Claimed]:
    """At most ``room`` deliveries whose time has come, at most ``each`` at once for one webhook."""
    now = timezone.now()
    until = now + timedelta(seconds=settings.ORKESTR_WEBHOOK_TIMEOUT_SECONDS + _MARGIN_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "until": until, "room": room, "each": each})
        rows = cursor.fetchall()
    hooks = Webhook.objects.in_bulk({row[1] for row in rows})
    return [
        Claimed(
            id=delivery_id,
            webhook_id=webhook_id,
            event_type=event_type,
            body=body.encode(),
            attempt=attempts + 1,
            url=hooks[webhook_id].url,
            secret=secret_of(webhook_id=webhook_id, salt=hooks[webhook_id].salt),
        )
        for delivery_id, webhook_id, event_type, body, attempts in rows
        if webhook_id in hooks
    ]


@transaction.atomic
def finished(outcomes: Mapping[str, Outcome]) -> None:
    """Write down attempts, by the ids of their deliveries.

    A webhook that was deleted meanwhile has taken its rows with it. The lock lets others add
    deliveries: nothing that happens to a sandbox waits for this.
    """
    found = Delivery.objects.filter(id__in=outcomes)
    owners = set(found.values_list("webhook_id", flat=True))
    locked = Webhook.objects.select_for_update(no_key=True).order_by("id").in_bulk(owners)
    tries: list[Attempt] = []
    for delivery in found.filter(webhook_id__in=locked).order_by("id"):
        _finish(locked[delivery.webhook_id], delivery, outcomes[delivery.id])
        delivery.save(update_fields=_WRITTEN)
        tries.append(_try(delivery))
    Attempt.objects.bulk_create(tries, ignore_conflicts=True)


def _finish(hook: Webhook, delivery: Delivery, outcome: Outcome) -> None:
    _note(delivery, outcome)
    if outcome.delivered:
        _delivered(hook, delivery)
    elif delivery.attempts < ATTEMPTS and hook.active:
        wait = timedelta(seconds=settings.ORKESTR_WEBHOOK_RETRY_SECONDS)
        delivery.due_at = timezone.now() + wait
    else:
        _given_up(hook, delivery)


def _note(delivery: Delivery, outcome: Outcome) -> None:
    delivery.attempts += 1
    delivery.claimed_until = None
    delivery.response_status = outcome.status
    delivery.response_body = _text(outcome.body)
    delivery.error = _text(outcome.error.encode(errors="replace"))[:500]
    delivery.duration_ms = outcome.duration_ms


def _try(delivery: Delivery) -> Attempt:
    """The last attempt, as a row of its own."""
    took = timedelta(milliseconds=delivery.duration_ms or 0)
    return Attempt(
        delivery=delivery,
        number=delivery.attempts,
        at=timezone.now() - took,
        duration_ms=delivery.duration_ms or 0,
        response_status=delivery.response_status,
        response_body=delivery.response_body,
        error=delivery.error,
    )


def _text(body: bytes) -> str:
    """PostgreSQL takes any character but NUL."""
    return body[:BODY_KEPT].decode(errors="replace").replace("\x00", "\u2400")


def _delivered(hook: Webhook, delivery: Delivery) -> None:
    _end(hook, delivery, DeliveryStatus.DELIVERED)
    hook.consecutive_failures = 0
    hook.last_error = None
    hook.save(update_fields=["last_delivery_at", "consecutive_failures", "last_error"])


def _given_up(hook: Webhook, delivery: Delivery) -> None:
    _end(hook, delivery, DeliveryStatus.FAILED)
    hook.consecutive_failures += 1
    hook.last_error = delivery.error
    if hook.active and hook.consecutive_failures >= FAILURES_MAX:
        hook.active = False
        audit_record(
            principal=None,
            actor=Actor("policy", name="deliveries fail"),
            account_id=hook.account_id,
            action="webhook.disabled",
            target=hook.id,
            before={"active": True},
            after={"active": False, "failures": hook.consecutive_failures, "error": delivery.error},
        )
        give_up_waiting(hook, but=delivery.id)
    hook.save(update_fields=["last_delivery_at", "consecutive_failures", "last_error", "active"])


def _end(hook: Webhook, delivery: Delivery, status: DeliveryStatus) -> None:
    delivery.status = status
    delivery.ended_at = hook.last_delivery_at = timezone.now()


def give_up_waiting(hook: Webhook, *, but: str = "") -> None:
    """What waits is not kept for the day it is switched on again: by then it would be old news."""
    now = timezone.now()
    waiting = Delivery.objects.filter(webhook=hook, status=DeliveryStatus.PENDING).exclude(id=but)
    waiting.exclude(claimed_until__gt=now).update(
        status=DeliveryStatus.FAILED,
        ended_at=now,
        error="The webhook was switched off before this could be sent; replay it if it matters.",
    )


def prune() -> int:
    """Forget deliveries that ended long ago, some at a time; how many it were."""
    before = timezone.now() - timedelta(days=KEEP_DAYS)
    old = Delivery.objects.filter(ended_at__lt=before).values_list("id", flat=True)[:_PRUNE_BATCH]
    return Delivery.objects.filter(id__in=list(old)).delete()[0]
