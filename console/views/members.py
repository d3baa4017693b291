"""Members of the account: roles, invitations, and accepting one."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.attempts import ACCEPT_OF_ADDRESS, TooManyAttempts, attempts_count
from accounts.errors import Invalid
from accounts.members import (
    Invited,
    invitation_accept,
    invitation_accept_new,
    invitation_create,
    invitation_of,
    invitation_revoke,
    invitations_of,
    member_change_role,
    member_remove,
    members_of,
)
from accounts.models import Account, Invitation, Role, Token, User
from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from console.mail import address_of, mail
from console.refusals import refusals_told
from console.sign_in import begin_session
from console.signed_in import choose_account, signed_in

ROLES = {
    Role.OWNER: "Everything, also members, the plan and others' tokens",
    Role.OPERATOR: "Runs and steps in, mints tokens",
    Role.VIEWER: "Looks and watches, changes nothing",
}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def members(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Who is in the account; an owner invites here. An invitation's link is in this answer only."""
    if request.method != "POST":
        return _page(request, principal)
    require(principal, Scope.MEMBERS_WRITE)
    try:
        invited = invitation_create(
            principal=principal,
            email=request.POST.get("email", "").replace("\x00", "")[:254],
            role=request.POST.get("role", ""),
            origin=origin_of(request),
        )
    except TooManyAttempts as error:
        return _page(request, principal, wrong=str(error), status=429)
    except Invalid as error:
        return _page(request, principal, wrong=str(error), status=422)
    link = address_of(reverse("join", args=[invited.text]))
    is_mailed = _mailed(request, principal, invited, link)
    return _page(request, principal, invited=invited, link=link, is_mailed=is_mailed)


def _mailed(request: HttpRequest, principal: Principal, invited: Invited, link: str) -> bool:
    account = Account.objects.get(id=principal.account_id)
    context = {"invitation": invited.invitation, "account": account, "by": request.user}
    text = render_to_string("console/mail/invitation.txt", {**context, "link": link})
    subject = f"Join {account.name} on orkestr".replace("\n", " ").replace("\r", " ")
    return mail(to=invited.invitation.email, subject=subject, text=text)


def _page(
    request: HttpRequest,
    principal: Principal,
    *,
    wrong: str = "",
    invited: Invited | None = None,
    link: str = "",
    is_mailed: bool = False,
    status: int = 200,
) -> HttpResponse:
    tokens = Token.objects.filter(account_id=principal.account_id, revoked_at=None)
    made = dict(tokens.values_list("created_by_id").annotate(Count("id")))
    people = [(one, made.get(one.user_id, 0)) for one in members_of(principal.account_id)]
    people.sort(key=lambda pair: list(Role.values).index(pair[0].role))
    context = {
        "account": Account.objects.get(id=principal.account_id),
        "people": people,
        "owners": sum(one.role == Role.OWNER for one, _ in people),
        "invitations": invitations_of(principal.account_id),
        "roles": [(role.value, role.label, what) for role, what in ROLES.items()],
        "wrong": wrong,
        "invited": invited,
        "link": link,
        "is_mailed": is_mailed,
        "typed": request.POST,
        "now": timezone.now(),
    }
    return render(request, "console/members.html", context, status=status)


@require_POST
@signed_in
def member_role(request: HttpRequest, principal: Principal, user_id: int) -> HttpResponse:
    """Another role, at once."""
    with refusals_told(request):
        changed = member_change_role(
            principal=principal,
            user_id=user_id,
            role=request.POST.get("role", ""),
            origin=origin_of(request),
        )
        messages.success(request, f"{changed.user} is now {changed.get_role_display().lower()}.")
    return redirect("members")


@require_POST
@signed_in
def member_end(request: HttpRequest, principal: Principal, user_id: int) -> HttpResponse:
    """Out of the account, at once."""
    with refusals_told(request):
        gone = member_remove(
            principal=principal,
            user_id=user_id,
            revoke_tokens="tokens" in request.POST,
            origin=origin_of(request),
        )
        if gone.user_id == principal.user_id:
            messages.success(request, "You have left the account.")
            return redirect("settings-you")
        messages.success(request, f"{gone.user} is no longer a member.")
    return redirect("members")


@require_POST
@signed_in
def invitation_end(request: HttpRequest, principal: Principal, invitation_id: int) -> HttpResponse:
    """Its link opens nothing any more."""
    gone = invitation_revoke(
        principal=principal, invitation_id=invitation_id, origin=origin_of(request)
    )
    messages.success(request, f"The invitation of {gone.email} is withdrawn.")
    return redirect("members")


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, text: str) -> HttpResponseBase:
    """What an invitation's link opens: accept as who is signed in, or as somebody new."""
    try:
        counted = attempts_count((ACCEPT_OF_ADDRESS, origin_of(request).network))
    except TooManyAttempts as error:
        return _refused(request, str(error), status=429)
    invitation = invitation_of(text)
    if invitation is None:
        return _refused(request, "It was used or withdrawn, or has expired. Ask for another one.")
    counted.take_back()
    if request.method != "POST":
        return _join_page(request, invitation)
    try:
        return _joined(request, invitation, text)
    except Invalid as error:
        return _join_page(request, invitation, wrong=str(error))


def _joined(request: HttpRequest, invitation: Invitation, text: str) -> HttpResponse:
    origin = origin_of(request)
    if isinstance(request.user, User):
        invitation_accept(text=text, user=request.user, origin=origin)
    else:
        user = invitation_accept_new(
            text=text,
            name=request.POST.get("name", "").replace("\x00", ""),
            password=request.POST.get("password", ""),
            origin=origin,
        )
        begin_session(request, user, method="invitation")
    choose_account(request, invitation.account_id)
    messages.success(request, f"Welcome to {invitation.account.name}.")
    return redirect("overview")


def _join_page(request: HttpRequest, invitation: Invitation, *, wrong: str = "") -> HttpResponse:
    is_known = User.objects.filter(email=invitation.email).exists()
    context = {
        "invitation": invitation,
        "what": ROLES[Role(invitation.role)],
        "is_known": is_known,
        "is_them": request.user.is_authenticated and request.user.email == invitation.email,
        "wrong": wrong,
        "typed": request.POST,
    }
    return render(request, "console/join.html", context, status=422 if wrong else 200)


def _refused(request: HttpRequest, message: str, *, status: int = 404) -> HttpResponse:
    context = {"message": message}
    return render(request, "console/join_refused.html", context, status=status)
