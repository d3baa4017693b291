"""``manage.py reset_second_step you@example.org``: for who lost their device and their codes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.factors import second_step_reset
from accounts.models import User
from accounts.origin import Origin
from timeline.events import Actor


class Command(BaseCommand):
    """The password alone signs them in from then on; all their sessions end."""

    help = "Take somebody's authenticator app, recovery codes and passkeys away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *, email: str, **_: Any) -> None:
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"Nobody signs in with {email}.")
        second_step_reset(user=user, actor=Actor("system", name="manage.py"), origin=Origin())
        self.stdout.write(f"{user.email} signs in by the password alone now.")
