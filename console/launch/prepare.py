"""What an instance's database and static files need, in one process of the service user.

`python -m console.launch.prepare <token name> [lost]` migrates, collects the static files and makes
the first account, and another token where the text of the first is lost; its last line is JSON with
what was made now (``email``, ``password``, ``token``).
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command


def main(token_name: str, *rest: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("bootstrap", token_name=token_name, token_lost="lost" in rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
