"""``manage.py bootstrap``: make what a new installation needs, and print the secrets once."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.bootstrap import account_bootstrap
from accounts.errors import Invalid


class Command(BaseCommand):
    """Prints one JSON object with ``email``, ``password`` and ``token``, as far as made now."""

    help = "Make plans, sizes, the first person, account and token. Safe to run again."

    def add_arguments(self, parser: CommandParser) -> None:
        """The flags."""
        parser.add_argument("--email", default="admin@example.org")
        parser.add_argument("--password", default=None, help="made up when not given")
        parser.add_argument("--token-name", default="first token")
        parser.add_argument("--token-lost", action="store_true", help="make another beside it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, call, print."""
        try:
            made = account_bootstrap(
                email=options["email"],
                password=options["password"],
                token_name=options["token_name"],
                token_lost=options["token_lost"],
            )
        except Invalid as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(made))
