"""Making, finding, keeping alive and ending sandboxes."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from accounts.database import in_database
from sandboxes import allowlist, selectors, services, snapshots
from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.replies import limits_json, metrics_json, nothing, page_json, reply, sandbox_json
from sandboxes.api.schemas import (
    ErrorOut,
    LimitsOut,
    ListQuery,
    MetricsOut,
    MetricsQuery,
    PageOut,
    SandboxIn,
    SandboxOut,
    TimeoutIn,
)
from sandboxes.errors import InvalidRequest
from sandboxes.limits import SandboxRequest, check_metadata_sought
from sandboxes.usage.metrics import metrics_of

router: Final = Router(tags=["Sandboxes"])


@router.post(
    "",
    auth=WRITE,
    response={201: SandboxOut, 403: ErrorOut, 409: ErrorOut, 422: ErrorOut, 503: ErrorOut},
)
async def create_sandbox(request: ApiRequest, payload: SandboxIn) -> HttpResponse:
    """Make a sandbox. It runs when the answer comes."""
    call, wanted = request.auth, wanted_sandbox(payload)
    if wanted.snapshot is not None:
        account_id = call.principal.account_id
        wanted = await in_database(snapshots.forked, wanted, account_id=account_id)
    sandbox = await services.sandbox_create(
        principal=call.principal, request=wanted, origin=call.origin
    )
    return reply(sandbox_json(sandbox), status=201)


@router.get("", auth=READ, response={200: PageOut, 422: ErrorOut})
async def list_sandboxes(request: ApiRequest, query: Query[ListQuery]) -> HttpResponse:
    """Sandboxes, newest first. `metadata[key]=value` keeps those that match, in every key given."""
    rows = selectors.sandboxes_of(
        request.auth.principal.account_id,
        statuses=[query.status] if query.status else [],
        metadata=_metadata(request),
    )
    page = await in_database(selectors.page_of, rows, limit=query.limit, cursor=query.cursor)
    return reply(page_json(page))


@router.get("/limits", auth=READ, response=LimitsOut)
async def get_limits(request: ApiRequest) -> HttpResponse:
    """What the plan covers."""
    await allowlist.registries_refresh(services.host_client())
    limits = await in_database(selectors.limits_of, request.auth.principal.account_id)
    return reply(limits_json(limits))


@router.get("/{sandbox_id}", auth=READ, response={200: SandboxOut, 404: ErrorOut})
async def get_sandbox(request: ApiRequest, sandbox_id: str) -> HttpResponse:
    """One sandbox."""
    sandbox = await in_database(
        selectors.sandbox_for, principal=request.auth.principal, sandbox_id=sandbox_id
    )
    return reply(sandbox_json(sandbox))


@router.get("/{sandbox_id}/metrics", auth=READ, response={200: MetricsOut, 404: ErrorOut})
async def get_metrics(
    request: ApiRequest, sandbox_id: str, query: Query[MetricsQuery]
) -> HttpResponse:
    """CPU and memory now, the last minute, and the whole life. Null and empty while it stands."""
    sandbox = await in_database(
        selectors.sandbox_for, principal=request.auth.principal, sandbox_id=sandbox_id
    )
    metrics = await metrics_of(sandbox, host=services.host_client(), since=query.since)
    return reply(metrics_json(metrics))


@router.delete("/{sandbox_id}", auth=WRITE, response={204: None, 404: ErrorOut})
async def terminate_sandbox(request: ApiRequest, sandbox_id: str) -> HttpResponse:
    """End a sandbox for good. Ending one that has ended already is fine."""
    call = request.auth
    await services.sandbox_terminate(
        principal=call.principal, sandbox_id=sandbox_id, origin=call.origin
    )
    return nothing()


@router.post(
    "/{sandbox_id}/timeout",
    auth=WRITE,
    response={200: SandboxOut, 403: ErrorOut, 404: ErrorOut, 409: ErrorOut},
)
async def set_timeout(request: ApiRequest, sandbox_id: str, payload: TimeoutIn) -> HttpResponse:
    """Let a running sandbox live this many seconds from now on."""
    sandbox = await in_database(
        services.sandbox_set_timeout,
        principal=request.auth.principal,
        sandbox_id=sandbox_id,
        timeout_seconds=payload.timeout_seconds,
        origin=request.auth.origin,
    )
    return reply(sandbox_json(sandbox))


def wanted_sandbox(payload: SandboxIn) -> SandboxRequest:
    """What a create asks for. Raises ``InvalidRequest``."""
    _refuse_both(payload)
    if payload.template is None and payload.snapshot is None:
        raise InvalidRequest("Give a template, such as python-3.12, or a snapshot.")
    return SandboxRequest(
        template=payload.template or "",
        snapshot=payload.snapshot,
        size=payload.size,
        cpu=payload.cpu,
        memory_mb=payload.memory_mb,
        network=payload.network,
        isolation=payload.isolation,
        allow_domains=payload.allow_domains,
        timeout_seconds=payload.timeout_seconds,
        on_timeout=payload.on_timeout,
        auto_resume=payload.auto_resume,
        preview_auth=payload.preview_auth,
        env=payload.env,
        metadata=payload.metadata,
        region=payload.region,
        volume=payload.volume,
        budget_eur=payload.budget_eur,
    )


def _refuse_both(payload: SandboxIn) -> None:
    if payload.snapshot is not None and payload.template is not None:
        raise InvalidRequest("Give either a template or a snapshot, not both.")


def _metadata(request: HttpRequest) -> dict[str, str]:
    wanted = {}
    for name, value in request.GET.items():
        if name.startswith("metadata[") and name.endswith("]"):
            wanted[name[len("metadata[") : -1]] = str(value)
    return check_metadata_sought(wanted)
