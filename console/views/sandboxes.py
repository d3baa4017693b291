"""The overview, the list of sandboxes, and the form that makes one."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Plan
from accounts.origin import origin_of
from accounts.policy import Principal, Scope, allows, require
from accounts.selectors import account_of, token_names
from console import boards
from console.forms import AGES, ForkForm, RunForm, SandboxForm
from console.lists.row import row_html
from console.refusals import refusals_in
from console.signed_in import signed_in
from console.wall.picture import Painter
from sandboxes.allowlist import registries_refresh_now
from sandboxes.errors import InvalidRequest
from sandboxes.host.types import HostError
from sandboxes.limits import NETWORKS, TEMPLATES, TIMEOUT_DEFAULT
from sandboxes.models import Isolation, Sandbox, Snapshot, Status
from sandboxes.saved_views import saved_views_of
from sandboxes.selectors import limits_of
from sandboxes.services import host_client, sandbox_create
from sandboxes.snapshots import forked, snapshot_for
from sandboxes.volumes import volumes_of

VOLUMES_SHOWN = 500


@require_safe
@signed_in
def overview(request: HttpRequest, principal: Principal) -> HttpResponse:
    """What runs now, and what to do next when nothing has yet; `wall/` keeps it live."""
    require(principal, Scope.SANDBOXES_READ)
    picture = Painter(principal.account_id).paint()
    context = {"picture": picture, "account": account_of(principal.account_id)}
    return render(request, "console/overview.html", context)


@require_safe
@signed_in
def sandboxes(request: HttpRequest, principal: Principal) -> HttpResponse:
    """The list, narrowed by what the address says."""
    require(principal, Scope.SANDBOXES_READ)
    filters = boards.filters_from(request.GET)
    may_act = allows(principal, Scope.SANDBOXES_WRITE)
    try:
        board = boards.board(account_id=principal.account_id, may_act=may_act, filters=filters)
    except InvalidRequest as error:
        raise Http404(str(error)) from None
    views = list(saved_views_of(principal))
    context = {
        "board": board,
        "rows": [row_html(row, may_act=may_act) for row in board.rows],
        "filters": filters,
        "statuses": Status,
        "templates": TEMPLATES,
        "network_names": NETWORKS,
        "ages": AGES.items(),
        "tokens": token_names(principal.account_id),
        "views": views,
        "view": next((view for view in views if view.query == filters.first_query), None),
    }
    part = request.headers.get("HX-Target") == "list"
    template = "console/parts/list.html" if part else "console/sandboxes.html"
    response = render(request, template, context)
    response["Vary"] = "HX-Request"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def sandbox_new(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Make a sandbox from a template, or from the snapshot that is named; go to its timeline."""
    require(principal, Scope.SANDBOXES_WRITE)
    snapshot = _snapshot(request, principal)
    form = (ForkForm if snapshot else SandboxForm)(
        request.POST or None, initial={"volume": request.GET.get("volume", "")[:64]}
    )
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            return redirect("sandbox", _made(request, principal, form).id)
    registries_refresh_now(host_client())
    limits = limits_of(principal.account_id)
    context = {
        "form": form,
        "snapshot": snapshot,
        "limits": limits,
        "templates": TEMPLATES,
        "isolations": _isolations(limits.account.plan),
        "isolation_default": settings.ORKESTR_ISOLATION,
        "networks": [(name, name in limits.account.plan.networks) for name in NETWORKS],
        "timeout_default": TIMEOUT_DEFAULT,
        "volumes": volumes_of(principal.account_id)[:VOLUMES_SHOWN],
    }
    return render(request, "console/sandbox_new.html", context, status=422 if form.errors else 200)


def _snapshot(request: HttpRequest, principal: Principal) -> Snapshot | None:
    """The one that the address or the form names. Raises ``SnapshotNotFound``."""
    named = request.POST.get("snapshot") or request.GET.get("snapshot")
    return snapshot_for(account_id=principal.account_id, snapshot_id=named) if named else None


def _made(request: HttpRequest, principal: Principal, form: RunForm) -> Sandbox:
    asked = form.to_request()
    if asked.snapshot:
        asked = forked(asked, account_id=principal.account_id)
    return async_to_sync(sandbox_create)(
        principal=principal, request=asked, origin=origin_of(request)
    )


def _isolations(plan: Plan) -> list[Isolation]:
    """The classes to choose from; none when the plan decides or the host has but one."""
    if plan.isolation:
        return []
    try:
        found = async_to_sync(host_client().isolations)()
    except HostError:
        return []
    ready = [Isolation(info.name) for info in found if info.ready]
    return ready if len(ready) > 1 else []
