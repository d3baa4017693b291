"""What an instance's database and static files need, in one process of the service user.

`python -m console.launch.prepare <token name>` migrates, collects the static files and makes the
first account; its last line is JSON with what was made now (``email``, ``password``, ``token``).
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command


def main(token_name: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("bootstrap", token_name=token_name)


if __name__ == "__main__":
    main(sys.argv[1])
