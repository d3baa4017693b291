"""Sign-ins and sign-outs go to the audit record, however the person got in."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from accounts.announce import CONTROL, announce, session_mark
from accounts.models import User
from accounts.origin import origin_of
from accounts.selectors import principal_of_user
from accounts.services import audit_record, person_record
from accounts.sessions import session_begin
from timeline.events import Actor


def signed_in(*, user: User, request: HttpRequest | None = None, **_: Any) -> None:
    """A session began."""
    method = getattr(request, "sign_in_method", "")
    by = {"by": method} if method else {}
    person_record(user, "person.signed_in", origin_of(request), **by)
    if request is None:
        return
    if request.session.session_key is None:
        request.session.create()
    session_begin(
        user=user,
        session_key=request.session.session_key or "",
        method=method,
        origin=origin_of(request),
    )


def signed_out(*, user: User | None, request: HttpRequest | None = None, **_: Any) -> None:
    """A session was ended by its person: sockets it opened end too."""
    if user is not None:
        person_record(user, "person.signed_out", origin_of(request))
    if request is not None:
        mark = session_mark(request.session.session_key)
        announce(group=CONTROL, message={"type": "session.ended", "session": mark})


def sign_in_failed(
    *, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Somebody tried; the address that was typed is kept, never the password."""
    email = str(credentials.get("username") or credentials.get("email") or "")
    user = User.objects.filter(email=email.strip().lower().replace("\x00", "")).first()
    audit_record(
        principal=principal_of_user(user=user) if user else None,
        actor=Actor("person", name=email.replace("\x00", "")[:254]),
        action="person.sign_in_failed",
        target=email,
        origin=origin_of(request),
    )


def connect() -> None:
    """Called once, when the application is ready."""
    user_logged_in.connect(signed_in, dispatch_uid="audit.signed_in")
    user_logged_out.connect(signed_out, dispatch_uid="audit.signed_out")
    user_login_failed.connect(sign_in_failed, dispatch_uid="audit.sign_in_failed")
