"""Volumes: what stays at ``/persist`` when sandboxes go."""

from __future__ import annotations

from typing import Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_of
from console.forms import LifetimeForm, VolumeForm
from console.refusals import refusals_in, refusals_told
from console.signed_in import signed_in
from sandboxes.models import Volume
from sandboxes.volume_limits import default_size_mb
from sandboxes.volume_uses import volume_uses
from sandboxes.volumes import (
    Lifetime,
    volume_create,
    volume_delete,
    volume_for,
    volume_update,
    volumes_of,
)

SHOWN: Final = 200


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def volumes(request: HttpRequest, principal: Principal) -> HttpResponse:
    """All of the account's, newest first, and the form that makes one."""
    posts = request.method == "POST"
    require(principal, Scope.SANDBOXES_WRITE if posts else Scope.SANDBOXES_READ)
    form = VolumeForm(request.POST or None)
    if posts and form.is_valid() and _made(request, principal, form):
        return redirect("volumes")
    plan = account_of(principal.account_id).plan
    context = {
        "form": form,
        "uses": volume_uses(principal.account_id, limit=SHOWN),
        "kept": volumes_of(principal.account_id).count(),
        "most": plan.max_volumes,
        "size_default": default_size_mb(plan) / 1024,
        "size_most": plan.max_volume_mb / 1024,
        "now": timezone.now(),
    }
    return render(request, "console/volumes.html", context, status=422 if form.errors else 200)


def _made(request: HttpRequest, principal: Principal, form: VolumeForm) -> bool:
    """Whether it is there now; else the form says why not."""
    with refusals_in(form) as refusal:
        volume = volume_create(
            principal=principal,
            name=form.cleaned_data["name"].strip(),
            size_gb=form.cleaned_data["size_gb"],
            lifetime=form.lifetime(),
            origin=origin_of(request),
        )
        messages.success(
            request, f"Volume {volume.name} is there. The next sandbox that names it has it."
        )
    return not refusal


@require_POST
@signed_in
def volume_lifetime(request: HttpRequest, principal: Principal, volume_id: str) -> HttpResponse:
    """When it is deleted by itself, counted from its creation."""
    require(principal, Scope.SANDBOXES_WRITE)
    volume = volume_for(account_id=principal.account_id, volume_id=volume_id)
    form = LifetimeForm(request.POST)
    if not form.is_valid():
        said = next(iter(form.errors.values()))
        messages.error(request, f"{volume.name} keeps its lifetime. {said[0]}")
    else:
        _live(request, principal, volume, form.lifetime())
    return redirect("volumes")


def _live(request: HttpRequest, principal: Principal, volume: Volume, lifetime: Lifetime) -> None:
    with refusals_told(request):
        changed = volume_update(
            principal=principal, volume_id=volume.id, lifetime=lifetime, origin=origin_of(request)
        )
        what = "is deleted by itself when its time is over" if changed.expires_at else "stays"
        messages.success(request, f"Volume {changed.name} {what}.")


@require_POST
@signed_in
def volume_end(request: HttpRequest, principal: Principal, volume_id: str) -> HttpResponse:
    """Delete one for good, with what is in it."""
    require(principal, Scope.SANDBOXES_WRITE)
    volume = volume_for(account_id=principal.account_id, volume_id=volume_id)
    with refusals_told(request):
        async_to_sync(volume_delete)(
            principal=principal, volume_id=volume.id, origin=origin_of(request)
        )
        messages.success(request, f"Volume {volume.name} is deleted.")
    return redirect("volumes")
