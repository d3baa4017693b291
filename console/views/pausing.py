"""An operator's pause and resume."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.origin import origin_of
from accounts.policy import Principal
from console.refusals import refusals_told
from console.signed_in import signed_in
from console.tabs import tab_to_return_to
from sandboxes.holding import sandbox_hold, sandbox_release
from sandboxes.models import Sandbox
from sandboxes.pausing import sandbox_pause, sandbox_resume


@require_POST
@signed_in
def pause(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Hold it still."""
    return _turned(request, principal, sandbox_id, sandbox_pause)


@require_POST
@signed_in
def resume(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Let it go on."""
    return _turned(request, principal, sandbox_id, sandbox_resume)


@require_POST
@signed_in
def hold(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Hold it still until a person lets it go on, with a note that says why."""
    return _turned(request, principal, sandbox_id, partial(sandbox_hold, text=_text(request)))


@require_POST
@signed_in
def release(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Let a held one go on."""
    return _turned(request, principal, sandbox_id, partial(sandbox_release, text=_text(request)))


def _text(request: HttpRequest) -> str:
    return request.POST.get("text", "")


def _turned(
    request: HttpRequest,
    principal: Principal,
    sandbox_id: str,
    turn: Callable[..., Coroutine[Any, Any, Sandbox]],
) -> HttpResponse:
    with refusals_told(request):
        async_to_sync(turn)(principal=principal, sandbox_id=sandbox_id, origin=origin_of(request))
    return redirect(tab_to_return_to(request, sandbox_id))
