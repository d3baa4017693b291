"""``manage.py allowlist``: the default allowlist of restricted networks, for an operator."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandboxes import allowlist
from sandboxes.errors import InvalidRequest
from sandboxes.models import AllowedDomain

MARKS = {True: "on ", False: "off"}


class Command(BaseCommand):
    """Without arguments it lists the rows; a change holds for sandboxes made from then on."""

    help = "List the default allowlist, or switch domains of it on or off."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--on", nargs="+", default=[], metavar="DOMAIN", help="added if new")
        parser.add_argument("--off", nargs="+", default=[], metavar="DOMAIN")

    def handle(self, *, on: list[str], off: list[str], **_: object) -> None:
        try:
            allowlist.domains_switch(on=on, off=off)
        except InvalidRequest as error:
            raise CommandError(str(error)) from error
        for row in AllowedDomain.objects.all():
            self.stdout.write(f"{MARKS[row.enabled]}  {row.get_source_display():<17} {row.domain}")
