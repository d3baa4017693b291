"""Everything that changes webhooks, except what their deliveries do to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from accounts.database import in_database
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import audit_record
from sandboxes.errors import InvalidRequest, WebhookNotFound, WrongState
from sandboxes.webhooks.claims import give_up_waiting
from sandboxes.webhooks.kinds import TEST_EVENT, EventType
from sandboxes.webhooks.models import Delivery, DeliveryStatus, Webhook, new_webhook_id
from sandboxes.webhooks.outbox import delivery_of_test, wake_on_commit
from sandboxes.webhooks.selectors import webhook_for
from sandboxes.webhooks.signing import new_salt, secret_of
from sandboxes.webhooks.targets import BadTarget, parse, resolve

WEBHOOKS_MAX: Final = 20
"""For one account."""

_NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Shown:
    """A webhook with its secret, which is told once and can be had again by nobody."""

    webhook: Webhook
    secret: str


async def webhook_create(
    *,
    principal: Principal,
    url: str,
    event_types: Sequence[str] | None = None,
    origin: Origin = _NOWHERE,
) -> Shown:
    """Have ``url`` told of ``event_types``; of all with None.

    Raises ``InvalidRequest`` for what cannot be sent to, ``WrongState`` beyond ``WEBHOOKS_MAX``
    and ``Forbidden``. The address is checked again at every delivery.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    types = _checked_types(event_types)
    try:
        await resolve(parse(url))
    except BadTarget as error:
        raise InvalidRequest(str(error)) from None
    return await in_database(
        _created, principal=principal, url=url, event_types=types, origin=origin
    )


def _checked_types(wanted: Sequence[str] | None) -> list[str] | None:
    if wanted is None:
        return None
    known = [kind.value for kind in EventType]
    if not wanted or set(wanted) - set(known):
        raise InvalidRequest(
            f"event_types may hold {', '.join(known)}; leave it out to be told of all."
        )
    return [kind for kind in known if kind in wanted]


@transaction.atomic
def _created(
    *, principal: Principal, url: str, event_types: list[str] | None, origin: Origin
) -> Shown:
    account_locked(principal.account_id)
    if Webhook.objects.filter(account_id=principal.account_id).count() >= WEBHOOKS_MAX:
        raise WrongState(f"An account has at most {WEBHOOKS_MAX} webhooks; delete one first.")
    hook = Webhook.objects.create(
        id=new_webhook_id(),
        account_id=principal.account_id,
        actor=principal.actor.to_json(),
        url=url,
        event_types=event_types,
        salt=new_salt(),
    )
    _audit(principal, "webhook.created", hook, origin)
    return Shown(hook, secret_of(webhook_id=hook.id, salt=hook.salt))


@transaction.atomic
def webhook_enable(*, principal: Principal, webhook_id: str, origin: Origin = _NOWHERE) -> Webhook:
    """Switch it on again and forget its failures. Idempotent. ``WebhookNotFound``, ``Forbidden``.

    What happened meanwhile was not recorded for it; what was given up can be replayed.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    hook = webhook_for(principal=principal, webhook_id=webhook_id, lock=True)
    was = hook.active
    hook.active = True
    hook.consecutive_failures = 0
    hook.last_error = None
    hook.save(update_fields=["active", "consecutive_failures", "last_error"])
    audit_record(
        principal=principal,
        action="webhook.enabled",
        target=hook.id,
        before={"active": was},
        after={"active": True, "url": hook.url},
        origin=origin,
    )
    return hook


@transaction.atomic
def webhook_disable(*, principal: Principal, webhook_id: str, origin: Origin = _NOWHERE) -> Webhook:
    """Tell it nothing more; what waits is given up. Idempotent. ``WebhookNotFound``, ``Forbidden``.

    Unlike one that switched itself off its count of failures stands as it was.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    hook = webhook_for(principal=principal, webhook_id=webhook_id, lock=True)
    was, hook.active = hook.active, False
    hook.save(update_fields=["active"])
    give_up_waiting(hook)
    audit_record(
        principal=principal,
        action="webhook.disabled",
        target=hook.id,
        before={"active": was},
        after={"active": False, "url": hook.url},
        origin=origin,
    )
    return hook


@transaction.atomic
def webhook_test(*, principal: Principal, webhook_id: str, origin: Origin = _NOWHERE) -> Delivery:
    """Send it something that tells of nothing. ``WebhookNotFound``, ``WrongState``, ``Forbidden``.

    One at a time, so that nobody floods a server with them.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    hook = webhook_for(principal=principal, webhook_id=webhook_id, lock=True)
    if not hook.active:
        raise WrongState("The webhook is switched off; enable it first.")
    waiting = Delivery.objects.filter(webhook=hook, status=DeliveryStatus.PENDING)
    if waiting.filter(event_type=TEST_EVENT).exists():
        raise WrongState("A test is on its way already; see below what comes of it.")
    _audit(principal, "webhook.tested", hook, origin)
    return delivery_of_test(hook)


@transaction.atomic
def webhook_rotate(*, principal: Principal, webhook_id: str, origin: Origin = _NOWHERE) -> Shown:
    """A new secret, from the next attempt on. Raises ``WebhookNotFound`` and ``Forbidden``."""
    require(principal, Scope.SANDBOXES_WRITE)
    hook = webhook_for(principal=principal, webhook_id=webhook_id, lock=True)
    hook.salt = new_salt()
    hook.save(update_fields=["salt"])
    _audit(principal, "webhook.rotated", hook, origin)
    return Shown(hook, secret_of(webhook_id=hook.id, salt=hook.salt))


@transaction.atomic
def webhook_delete(*, principal: Principal, webhook_id: str, origin: Origin = _NOWHERE) -> None:
    """Forget it and its deliveries. Raises ``WebhookNotFound`` and ``Forbidden``."""
    require(principal, Scope.SANDBOXES_WRITE)
    hook = webhook_for(principal=principal, webhook_id=webhook_id, lock=True)
    before = {"url": hook.url, "event_types": hook.event_types}
    audit_record(
        principal=principal, action="webhook.deleted", target=hook.id, before=before, origin=origin
    )
    hook.delete()


@transaction.atomic
def delivery_replay(
    *, principal: Principal, delivery_id: str, origin: Origin = _NOWHERE
) -> Delivery:
    """Send the same body once more, as a delivery of its own, however the first one went.

    Raises ``WebhookNotFound``, ``WrongState`` (it is switched off, or not done with the first
    one) and ``Forbidden``.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    wanted = delivery_id.replace("\x00", "")
    first = Delivery.objects.filter(id=wanted, webhook__account_id=principal.account_id).first()
    if first is None:
        raise WebhookNotFound(delivery_id)
    hook = webhook_for(principal=principal, webhook_id=first.webhook_id, lock=True)
    if not hook.active:
        raise WrongState("The webhook is switched off; enable it first.")
    if first.status == DeliveryStatus.PENDING:
        raise WrongState("This delivery is still being tried; replay it when that has ended.")
    after = {"url": hook.url, "delivery": first.id, "event_type": first.event_type}
    audit_record(
        principal=principal, action="webhook.replayed", target=hook.id, after=after, origin=origin
    )
    wake_on_commit()
    return Delivery.objects.create(
        webhook=hook,
        event_id=first.event_id,
        event_type=first.event_type,
        subject=first.subject,
        body=first.body,
        replay_of=first.id,
    )


def _audit(principal: Principal, action: str, hook: Webhook, origin: Origin) -> None:
    after = {"url": hook.url, "event_types": hook.event_types}
    audit_record(principal=principal, action=action, target=hook.id, after=after, origin=origin)
