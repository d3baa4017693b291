"""Settings: who is told of what, and how that went."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import orjson
from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from console.forms import DeliveryFilterForm, WebhookForm
from console.refusals import refusals_in, refusals_told
from console.signed_in import signed_in
from sandboxes.webhooks import services
from sandboxes.webhooks.claims import ATTEMPTS, FAILURES_MAX, KEEP_DAYS
from sandboxes.webhooks.kinds import TEST_EVENT, EventType
from sandboxes.webhooks.models import DeliveryStatus, Webhook
from sandboxes.webhooks.selectors import (
    deliveries_page,
    delivery_for,
    webhook_for,
    webhooks_of,
)
from sandboxes.webhooks.services import WEBHOOKS_MAX, Shown

_LIMITS = {"failures_max": FAILURES_MAX, "attempts_max": ATTEMPTS, "keep_days": KEEP_DAYS}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def webhooks(request: HttpRequest, principal: Principal) -> HttpResponse:
    """All of the account's, and the form that adds one. A new secret is in this one answer only."""
    posts = request.method == "POST"
    require(principal, Scope.SANDBOXES_WRITE if posts else Scope.SANDBOXES_READ)
    form = WebhookForm(request.POST or None)
    shown: Shown | None = None
    if posts and form.is_valid():
        with refusals_in(form, "url"):
            shown = async_to_sync(services.webhook_create)(
                principal=principal,
                url=form.cleaned_data["url"].strip(),
                event_types=form.chosen(),
                origin=origin_of(request),
            )
            form = WebhookForm()
    context = {
        "form": form,
        "shown": shown,
        "webhooks": webhooks_of(principal.account_id),
        "kinds": list(EventType),
        "most": WEBHOOKS_MAX,
        **_LIMITS,
    }
    return render(request, "console/webhooks.html", context, status=422 if form.errors else 200)


@never_cache
@require_safe
@signed_in
def webhook(request: HttpRequest, principal: Principal, webhook_id: str) -> HttpResponse:
    """One, with its deliveries as the address narrows them."""
    require(principal, Scope.SANDBOXES_READ)
    return _page(request, webhook_for(principal=principal, webhook_id=webhook_id))


@require_safe
@signed_in
def delivery(
    request: HttpRequest, principal: Principal, webhook_id: str, delivery_id: str
) -> HttpResponse:
    """What was sent, and each answer to it."""
    require(principal, Scope.SANDBOXES_READ)
    hook = webhook_for(principal=principal, webhook_id=webhook_id)
    found = delivery_for(hook=hook, delivery_id=delivery_id)
    body = orjson.dumps(orjson.loads(found.body), option=orjson.OPT_INDENT_2).decode()
    tries = sorted(found.tries.all(), key=lambda one: one.number)
    context = {"webhook": hook, "delivery": found, "tries": tries, "body": body, **_LIMITS}
    return render(request, "console/delivery.html", context)


@require_POST
@signed_in
def enable(request: HttpRequest, principal: Principal, webhook_id: str) -> HttpResponse:
    """Switch it on, with its failures forgotten."""
    return _done(request, principal, webhook_id, services.webhook_enable, "It is told again.")


@require_POST
@signed_in
def disable(request: HttpRequest, principal: Principal, webhook_id: str) -> HttpResponse:
    """Switch it off."""
    return _done(
        request, principal, webhook_id, services.webhook_disable, "It is told nothing more."
    )


@require_POST
@signed_in
def test(request: HttpRequest, principal: Principal, webhook_id: str) -> HttpResponse:
    """Send it something that tells of nothing."""
    return _done(request, principal, webhook_id, services.webhook_test, "A test is on its way.")


@never_cache
@require_POST
@signed_in
def rotate(request: HttpRequest, principal: Principal, webhook_id: str) -> HttpResponse:
    """A new secret, in this one answer only."""
    shown = services.webhook_rotate(
        principal=principal, webhook_id=webhook_id, origin=origin_of(request)
    )
    return _page(request, shown.webhook, shown)


@require_POST
@signed_in
def delete(request: HttpRequest, principal: Principal, webhook_id: str) -> HttpResponse:
    """Forget it and its deliveries."""
    hook = webhook_for(principal=principal, webhook_id=webhook_id)
    services.webhook_delete(principal=principal, webhook_id=hook.id, origin=origin_of(request))
    messages.success(request, f"{hook.url} is told nothing more, and its deliveries are gone.")
    return redirect("settings-webhooks")


@require_POST
@signed_in
def replay(
    request: HttpRequest, principal: Principal, webhook_id: str, delivery_id: str
) -> HttpResponse:
    """Send the same body once more; leads to the new delivery."""
    require(principal, Scope.SANDBOXES_WRITE)
    hook = webhook_for(principal=principal, webhook_id=webhook_id)
    found = delivery_for(hook=hook, delivery_id=delivery_id)
    with refusals_told(request):
        again = services.delivery_replay(
            principal=principal, delivery_id=found.id, origin=origin_of(request)
        )
        return redirect("delivery", webhook_id, again.id)
    return redirect("delivery", webhook_id, delivery_id)


def _page(request: HttpRequest, hook: Webhook, shown: Shown | None = None) -> HttpResponse:
    form = DeliveryFilterForm(request.GET)
    form.is_valid()
    status, event, before = (
        form.cleaned_data.get(name) or "" for name in ("status", "event", "before")
    )
    page = deliveries_page(hook=hook, status=status, event_type=event, before=before)
    narrowed = {name: value for name, value in (("status", status), ("event", event)) if value}
    context = {
        "webhook": hook,
        "shown": shown,
        "page": page,
        "status": status,
        "event": event,
        "before": before,
        "older": urlencode({**narrowed, "before": page.next_before or ""}),
        "newest": urlencode(narrowed),
        "statuses": DeliveryStatus.choices,
        "events": [*(kind.value for kind in EventType), TEST_EVENT],
        **_LIMITS,
    }
    return render(request, "console/webhook.html", context)


def _done(
    request: HttpRequest,
    principal: Principal,
    webhook_id: str,
    service: Callable[..., object],
    said: str,
) -> HttpResponse:
    with refusals_told(request):
        service(principal=principal, webhook_id=webhook_id, origin=origin_of(request))
        messages.success(request, said)
    return redirect("webhook", webhook_id)
