"""`/api`: what the command line asks beside sandboxes. Signing in, tokens, the audit record."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI, Query
from pydantic import BaseModel, Field

from accounts.audit import AuditFilter, AuditPage, Cursor, audit_page, audit_past
from accounts.database import in_database
from accounts.devices import (
    INTERVAL_SECONDS,
    LIFETIME,
    NotYet,
    TooMany,
    device_collect,
    device_start,
)
from accounts.errors import Invalid
from accounts.models import Account, AuditEntry, Token
from accounts.origin import origin_of
from accounts.policy import USUAL_SCOPES, Principal, Scope, allows
from accounts.selectors import tokens_of
from accounts.services import Minted, token_mint, token_revoke
from sandboxes.api import errors
from sandboxes.api.access import ApiRequest, Bearer
from sandboxes.api.api import JsonParser
from sandboxes.api.errors import Answer, failure
from sandboxes.api.replies import nothing, reply
from sandboxes.api.schemas import Body
from sandboxes.errors import InvalidRequest

_ANY: Final = Bearer(None)
_PAGE_MAX: Final = 200


class DeviceIn(Body):
    """What asks to be signed in."""

    client_name: str


class CollectIn(Body):
    """The code that only the asking program knows."""

    device_code: str = Field(max_length=200)


class TokenIn(Body):
    """A token to mint, with the scopes for sandboxes of the one that mints it."""

    name: str
    expires_in_days: int | None = None


class ActivityQuery(BaseModel):
    """Which part of the audit record: the command line counts, ``cursor`` reaches any depth."""

    skip: int = Field(0, ge=0, le=100_000)
    limit: int = Field(30, ge=1, le=_PAGE_MAX)
    cursor: str | None = None


api: Final = NinjaAPI(
    title="Platform",
    version="1",
    docs_url=None,
    openapi_url=None,
    urls_namespace="platform",
    parser=JsonParser(),
)
errors.install(api)


@csrf_exempt
def no_route(request: HttpRequest, _: str) -> HttpResponse:
    """Everything else below ``/api``: what the command line has for other products."""
    return failure(
        Answer(404),
        f"There is no {request.method} {request.path[:200]} on this platform. It answers the "
        "command line's login, logout, whoami, sbx, tokens and activity.",
    )


@api.exception_handler(Invalid)
def _invalid(_: HttpRequest, error: Invalid) -> HttpResponse:
    return failure(Answer(422), str(error))


@api.exception_handler(TooMany)
def _too_many(_: HttpRequest, error: TooMany) -> HttpResponse:
    return failure(Answer(429, "busy", retry=True), str(error))


@api.exception_handler(NotYet)
def _not_yet(_: HttpRequest, error: NotYet) -> HttpResponse:
    """In the words of RFC 8628."""
    return reply({"error": error.error, "detail": str(error)}, status=400)


@api.post("/auth/device/start")
async def start(request: HttpRequest, payload: DeviceIn) -> HttpResponse:
    """Ask to be signed in. A person opens the link and compares the code."""
    began = await in_database(
        device_start, client_name=payload.client_name, origin=origin_of(request)
    )
    page = f"{settings.ORKESTR_BASE_URL}/device/"
    return reply(
        {
            "device_code": began.device_code,
            "user_code": began.login.code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={began.login.code}",
            "expires_in": int(LIFETIME.total_seconds()),
            "interval": INTERVAL_SECONDS,
        }
    )


@api.post("/auth/device/token")
async def collect(request: HttpRequest, payload: CollectIn) -> HttpResponse:
    """The token, once somebody has approved; until then 400 with an `error`."""
    minted = await in_database(
        device_collect, device_code=payload.device_code, origin=origin_of(request)
    )
    person = minted.token.created_by
    scopes = " ".join(minted.token.scopes)
    username = str(person) if person else minted.token.name
    return reply({**_minted_json(minted), "scopes": scopes, "username": username})


@api.get("/auth/me", auth=_ANY)
async def me(request: ApiRequest) -> HttpResponse:
    """Whose token this is."""
    return reply(await in_database(_me, request.auth.principal))


@api.get("/v1/api-tokens", auth=Bearer(Scope.TOKENS_READ))
async def list_tokens(request: ApiRequest) -> HttpResponse:
    """The account's tokens that can be used, newest first."""
    rows = tokens_of(request.auth.principal.account_id).filter(revoked_at=None)[:_PAGE_MAX]
    found = [_token_json(token) for token in await in_database(list, rows)]
    return reply({"tokens": found, "total": len(found)})


@api.post("/v1/api-tokens", auth=Bearer(Scope.TOKENS_WRITE))
async def create_token(request: ApiRequest, payload: TokenIn) -> HttpResponse:
    """Mint one for what the asking one may do in sandboxes. Only this answer shows it."""
    principal = request.auth.principal
    minted = await in_database(
        token_mint,
        principal=principal,
        name=payload.name,
        scopes=[scope for scope in USUAL_SCOPES if allows(principal, scope)],
        expires_in_days=payload.expires_in_days,
        origin=request.auth.origin,
    )
    return reply(_minted_json(minted), status=201)


@api.delete("/v1/api-tokens/{token_id}", auth=Bearer(Scope.TOKENS_WRITE))
async def delete_token(request: ApiRequest, token_id: str) -> HttpResponse:
    """Revoke one of the same person's, named by the id of the list or by that of the console."""
    rows = Token.objects.filter(account_id=request.auth.principal.account_id)
    row = await in_database(rows.filter(lookup=token_id.replace("\x00", "")).first)
    return await _revoke(request, row.id if row else token_id)


@api.delete("/api-tokens/current", auth=_ANY)
async def delete_current(request: ApiRequest) -> HttpResponse:
    """Revoke the token that asks."""
    return await _revoke(request, request.auth.principal.token_id or "")


@api.get("/v1/activity", auth=Bearer(Scope.AUDIT_READ))
async def activity(request: ApiRequest, query: Query[ActivityQuery]) -> HttpResponse:
    """The account's audit record, newest first; `next_cursor` is where an older page begins."""
    page = await in_database(_activity, request.auth.principal.account_id, query)
    older = str(page.older) if page.older else None
    return reply({"activity": [_entry_json(one) for one in page.entries], "next_cursor": older})


def _activity(account_id: str, query: ActivityQuery) -> AuditPage:
    """A page by keyset, wherever it begins. Raises ``InvalidRequest``."""
    before = None
    if query.cursor is not None:
        before = Cursor.parse(query.cursor)
        if before is None or query.skip:
            raise InvalidRequest(
                "cursor is one that the page before gave out, and stands without skip."
            )
    elif query.skip:
        before = audit_past(account_id, skip=query.skip)
        if before is None:
            return AuditPage()
    return audit_page(
        account_id=account_id, narrowed=AuditFilter(), before=before, size=query.limit
    )


async def _revoke(request: ApiRequest, token_id: str) -> HttpResponse:
    principal, origin = request.auth.principal, request.auth.origin
    await in_database(token_revoke, principal=principal, token_id=token_id, origin=origin)
    return nothing()


def _me(principal: Principal) -> dict[str, Any]:
    account = Account.objects.get(id=principal.account_id)
    token = Token.objects.select_related("created_by").get(id=principal.token_id)
    person = token.created_by
    return {
        "username": str(person) if person else token.name,
        "email": person.email if person else None,
        "plan": account.plan_id,
        "account": account.name,
        "is_active": person.is_active if person else True,
        "created_at": (person.date_joined if person else token.created_at).isoformat(),
        "token": {"name": token.name, "prefix": token.prefix, "scopes": token.scopes},
    }


def _token_json(token: Token) -> dict[str, Any]:
    """``id`` is what the command line shows of it: eight characters that tell tokens apart."""
    expires, used = token.expires_at, token.last_used_at
    return {
        "id": token.lookup,
        "token_id": token.id,
        "name": token.name,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "created_at": token.created_at.isoformat(),
        "expires_at": expires.isoformat() if expires else None,
        "last_used_at": used.isoformat() if used else None,
    }


def _minted_json(minted: Minted) -> dict[str, Any]:
    return {**_token_json(minted.token), "token": minted.text}


def _entry_json(entry: AuditEntry) -> dict[str, Any]:
    actor = entry.actor.get("name") or entry.actor.get("type", "")
    return {
        "id": entry.pk,
        "created_at": entry.at.isoformat(),
        "action": entry.action,
        "resource_type": entry.action.partition(".")[0],
        "resource_id": entry.target,
        "actor": actor,
        "details": f"{actor}: {entry.target}",
        "before": entry.before,
        "after": entry.after,
        "address": entry.address,
    }
