"""How a person who asked for something is told that it was refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib import messages
from django.http import HttpRequest

from sandboxes.errors import NotFound, SandboxError
from sandboxes.host.types import HostError


@contextmanager
def refusals_told(request: HttpRequest) -> Iterator[None]:
    """What the domain or the host refuses inside becomes a message on the next page.

    ``NotFound`` goes on: ``signed_in`` makes it a 404.
    """
    try:
        yield
    except NotFound:
        raise
    except (SandboxError, HostError) as error:
        messages.error(request, str(error))
