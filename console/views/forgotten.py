"""A forgotten password: asking for a link by mail, and choosing another by it."""

from __future__ import annotations

from typing import Any

from celery import current_app
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from kombu.exceptions import OperationalError

from accounts.attempts import TooManyAttempts
from accounts.origin import origin_of
from accounts.passwords import password_reset, reset_ask
from console.forms import AddressForm, NewPasswordForm

TASK = "console.mail_reset_link"
_AWAY = "The link cannot be sent right now. Try again in a moment."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def forgot(request: HttpRequest) -> HttpResponse:
    """Where to send a link. Says the same whether or not somebody has that address."""
    if not settings.ORKESTR_EMAIL_URL or request.method != "POST":
        return _page(request)
    form = AddressForm(request.POST)
    if not form.is_valid():
        return _page(request, "Give a complete e-mail address, such as you@example.org.")
    email, origin = form.cleaned_data["email"].lower(), origin_of(request)
    asked = {"email": email, "address": origin.address, "user_agent": origin.user_agent}
    try:
        reset_ask(email=email, origin=origin)
        current_app.send_task(TASK, kwargs=asked, retry=False)
    except TooManyAttempts as error:
        return _page(request, str(error), status=429)
    except OperationalError:
        return _page(request, _AWAY, status=503)
    return _page(request, sent_to=email)


def _page(
    request: HttpRequest, wrong: str = "", *, sent_to: str = "", status: int = 422
) -> HttpResponse:
    context = {
        "wrong": wrong,
        "sent_to": sent_to,
        "email": request.POST.get("email", ""),
        "sends_mail": bool(settings.ORKESTR_EMAIL_URL),
    }
    return render(request, "console/forgot.html", context, status=status if wrong else 200)


class ResetPassword(PasswordResetConfirmView):
    """What the link opens. Django keeps its token in the session, so that no address shows it."""

    template_name = "console/password_new.html"
    form_class = NewPasswordForm  # type: ignore[assignment]  # one field, not the same one twice

    def form_valid(self, form: NewPasswordForm) -> HttpResponse:  # type: ignore[override]
        """Nobody is signed in by it: the new password, and a second step, are asked for next."""
        password_reset(
            user=form.user,
            password=form.cleaned_data["password"],
            origin=origin_of(self.request),
        )
        self.request.session.flush()
        messages.success(self.request, "Your password is changed. Sign in with it.")
        return redirect("login")

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """A link that is over, or a password that is not good, is no success."""
        form = context.get("form")
        status = 404 if not self.validlink else 422 if form is not None and form.errors else 200
        return super().render_to_response(context, status=status, **kwargs)
