"""Notes that a session is used, for the list of its person's sessions."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.origin import origin_of
from accounts.sessions import session_touch


class SessionTouch:
    """Middleware behind the one of authentication."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            user_id = request.session.get(SESSION_KEY)
            key = request.session.session_key
            if user_id and key and request.user.is_authenticated:
                session_touch(session_key=key, user_id=int(user_id), origin=origin_of(request))
        return self.get_response(request)
