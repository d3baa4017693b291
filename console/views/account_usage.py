"""The Usage page: what an account spends, on what, and how long its credit lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Account
from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record
from console.exports.download import download
from console.exports.usage import BY, usage_csv
from console.forms import CapForm
from console.refusals import refusals_told
from console.signed_in import signed_in
from sandboxes.budgets import cap_set
from sandboxes.errors import InvalidRequest
from sandboxes.usage import report
from sandboxes.usage.models import Alert
from sandboxes.usage.outlook import Outlook, outlook
from sandboxes.usage.selectors import Spent, spending_of

RUNNING_SHOWN = 25
ALERTS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Credit:
    """The plan's credit and what is left of it, in EUR; ``percent`` used, at most 100."""

    eur: Decimal
    used: Decimal
    left: Decimal
    percent: int
    runs_out_at: datetime | None

    @classmethod
    def of(cls, account: Account, spent: Decimal, ahead: Outlook) -> Credit:
        credit = account.plan.trial_credit_eur
        used = min(spent, credit)
        left = credit - used
        percent = int(100 * used / credit) if credit else 100
        return cls(credit, used, left, percent, ahead.reaches(left) if left else None)


@dataclass(frozen=True, slots=True)
class Cap:
    """The month's cap and what is spent of it, in EUR; ``percent`` of it, at most 100."""

    eur: Decimal
    used: Decimal
    percent: int
    reached_at: datetime | None

    @classmethod
    def of(cls, spent: Spent, cap_eur: Decimal, ahead: Outlook) -> Cap:
        percent = min(100, int(100 * spent.month_eur / cap_eur))
        at = ahead.reaches(cap_eur - spent.month_eur)
        in_time = at is not None and (at.year, at.month) == (ahead.at.year, ahead.at.month)
        return cls(cap_eur, spent.month_eur, percent, at if in_time else None)


@require_safe
@signed_in
def account_usage(request: HttpRequest, principal: Principal) -> HttpResponse:
    """One month in charts and tables, and what runs now."""
    require(principal, Scope.SANDBOXES_READ)
    now = timezone.now()
    today = now.astimezone(UTC).date()
    first = report.month_from(request.GET.get("month", ""), today=today)
    account = Account.objects.select_related("plan").get(id=principal.account_id)
    month = report.usage_month(account_id=account.id, first=first, today=today)
    running = report.usage_running(account.id)
    ahead = outlook(running=running, per_day=report.usage_a_day(account.id, today=today), now=now)
    spent = spending_of(account.id)
    after = report.month_after(first)
    context = {
        "account": account,
        "month": month,
        "is_now": after > today,
        "before": report.month_before(first),
        "after": after if after <= today else None,
        "running": running[:RUNNING_SHOWN],
        "running_count": len(running),
        "outlook": ahead,
        "month_end": ahead.month_end(month.total.eur) if after > today else None,
        "credit": Credit.of(account, spent.eur, ahead),
        "cap": None if spent.cap_eur is None else Cap.of(spent, spent.cap_eur, ahead),
        "alerts": Alert.objects.filter(account=account).order_by("-id")[:ALERTS_SHOWN],
    }
    return render(request, "console/usage.html", context)


@require_POST
@signed_in
def account_cap(request: HttpRequest, principal: Principal) -> HttpResponse:
    """An owner's cap on the month; nothing typed takes it away."""
    form = CapForm(request.POST)
    with refusals_told(request):
        if not form.is_valid():
            raise InvalidRequest("A cap is a number of euros, such as 50.")
        monthly_eur = form.cleaned_data["monthly_eur"]
        cap_set(principal=principal, monthly_eur=monthly_eur, origin=origin_of(request))
        messages.success(request, "The cap is set." if monthly_eur else "There is no cap now.")
    return redirect("usage")


@require_safe
@signed_in
def account_usage_csv(request: HttpRequest, principal: Principal, by: str) -> HttpResponseBase:
    """A month as CSV: a line for each day, sandbox or hour."""
    require(principal, Scope.SANDBOXES_READ)
    if by not in BY:
        raise Http404(f"Usage comes by {', '.join(BY)}.")
    today = timezone.now().astimezone(UTC).date()
    first = report.month_from(request.GET.get("month", ""), today=today)
    audit_record(
        principal=principal,
        action="usage.exported",
        after={"month": f"{first:%Y-%m}", "by": by},
        origin=origin_of(request),
    )
    pieces = usage_csv(account_id=principal.account_id, first=first, by=by)
    name = f"usage-{first:%Y-%m}-by-{by}.csv"
    return download(pieces, name=name, content_type="text/csv; charset=utf-8")
