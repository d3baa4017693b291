"""Lists of sandboxes that people come back to: their own, and those of the whole account."""

from __future__ import annotations

from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from accounts.origin import Origin
from accounts.policy import Forbidden, Principal, Scope, require
from accounts.services import audit_record
from sandboxes.errors import InvalidRequest, Missing
from sandboxes.models import SavedView

MOST: Final = 30
LONGEST_NAME: Final = 60
_NOWHERE = Origin()


class SavedViewNotFound(Missing):
    """No such view, or somebody else's own."""

    def __init__(self) -> None:
        super().__init__("There is no such saved view.")


def saved_views_of(principal: Principal) -> QuerySet[SavedView]:
    """What this person sees: the account's and their own, by name."""
    own = Q(user_id=principal.user_id) if principal.user_id else Q(pk__in=())
    rows = SavedView.objects.filter(own | Q(user=None), account_id=principal.account_id)
    return rows.order_by("name", "id")


def saved_view_create(
    *,
    principal: Principal,
    name: str,
    query: str,
    shared: bool = False,
    origin: Origin = _NOWHERE,
) -> SavedView:
    """Keep a list's filters. ``shared`` ones are seen by all and take the right to act.

    Raises ``InvalidRequest`` and ``Forbidden``.
    """
    require(principal, Scope.SANDBOXES_WRITE if shared else Scope.SANDBOXES_READ)
    if principal.user_id is None:
        raise Forbidden("Only people keep views.")
    name = _named(name)
    if not query:
        raise InvalidRequest("Narrow the list first: this is the list of all sandboxes.")
    owner = None if shared else principal.user_id
    owned = Q(user=None) if shared else Q(user_id=principal.user_id)
    if SavedView.objects.filter(owned, account_id=principal.account_id).count() >= MOST:
        raise InvalidRequest(f"{MOST} views are kept; delete one first.")
    try:
        with transaction.atomic():
            view = SavedView.objects.create(
                account_id=principal.account_id, user_id=owner, name=name, query=query
            )
            _record(principal, "sandbox.view_saved", view, origin, after=_shown(view))
    except IntegrityError:
        raise _taken(name) from None
    return view


def saved_view_rename(
    *, principal: Principal, view_id: int, name: str, origin: Origin = _NOWHERE
) -> SavedView:
    """Call one otherwise. Raises ``SavedViewNotFound``, ``InvalidRequest`` and ``Forbidden``."""
    name = _named(name)
    try:
        with transaction.atomic():
            view = _changeable(principal, view_id)
            before, view.name = _shown(view), name
            view.save(update_fields=["name"])
            _record(
                principal, "sandbox.view_renamed", view, origin, before=before, after=_shown(view)
            )
    except IntegrityError:
        raise _taken(name) from None
    return view


@transaction.atomic
def saved_view_delete(*, principal: Principal, view_id: int, origin: Origin = _NOWHERE) -> str:
    """Forget one; returns its name. Raises ``SavedViewNotFound`` and ``Forbidden``."""
    view = _changeable(principal, view_id)
    _record(principal, "sandbox.view_deleted", view, origin, before=_shown(view))
    view.delete()
    return view.name


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or "\x00" in name:
        raise InvalidRequest(f"Give the view a name of up to {LONGEST_NAME} characters.")
    return name


def _taken(name: str) -> InvalidRequest:
    return InvalidRequest(f"There is a view called {name} already.")


def _changeable(principal: Principal, view_id: int) -> SavedView:
    """Locked. Raises ``SavedViewNotFound`` and ``Forbidden``."""
    require(principal, Scope.SANDBOXES_READ)
    rows = saved_views_of(principal).select_for_update()
    view = rows.filter(pk=view_id).first()
    if view is None:
        raise SavedViewNotFound
    if view.user_id is None:
        require(principal, Scope.SANDBOXES_WRITE)
    return view


def _shown(view: SavedView) -> dict[str, str]:
    return {"name": view.name, "query": view.query}


def _record(
    principal: Principal,
    action: str,
    view: SavedView,
    origin: Origin,
    *,
    before: dict[str, str] | None = None,
    after: dict[str, str] | None = None,
) -> None:
    """What only its owner sees is nobody's business."""
    if view.user_id is None:
        audit_record(
            principal=principal,
            action=action,
            target=view.name,
            before=before,
            after=after,
            origin=origin,
        )
