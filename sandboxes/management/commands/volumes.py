"""``manage.py volumes``: disks on the host that no volume of the database owns."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandboxes import volumes
from sandboxes.errors import SandboxError
from sandboxes.host.types import HostError


class Command(BaseCommand):
    """Without arguments it lists them. Nothing but this command ever removes one."""

    help = "List the disks of volumes that the database does not know, or remove some of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--remove", nargs="+", default=[], metavar="VOLUME_ID")

    def handle(self, *, remove: list[str], **_: object) -> None:
        try:
            volumes.strays_remove(remove)
            left = volumes.strays()
        except (SandboxError, HostError) as error:
            raise CommandError(str(error)) from error
        for volume_id in left:
            self.stdout.write(volume_id)
