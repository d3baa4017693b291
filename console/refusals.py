"""What a person asked for and was refused: the one place that knows what counts as refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse

from accounts.errors import Invalid, NotFound
from sandboxes.errors import SandboxError
from sandboxes.host.types import HostError

_PLAIN: Final = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")


@dataclass(slots=True)
class Refusal:
    """Why not, in a sentence that says what to do; false, and empty, when all went well."""

    message: str = ""

    def __bool__(self) -> bool:
        return bool(self.message)

    def tell(self, request: HttpRequest) -> None:
        """As a message on the next page."""
        if self:
            messages.error(request, self.message)

    def to_script(self) -> HttpResponse:
        """What htmx's pages show as a notice."""
        response = HttpResponse(self.message, status=422, content_type="text/plain; charset=utf-8")
        say_to_script(response, self.message)
        return response


def say_to_script(response: HttpResponse, message: str) -> None:
    """What ``static/console/app.js`` says of a request that failed. A header is plain ASCII in one
    line, so whatever else a message holds (a file's name may hold anything) is percent-encoded."""
    response["x-message"] = quote(message, safe=_PLAIN)


@contextmanager
def refusals() -> Iterator[Refusal]:
    """Catches what accounts, the domain or the host refuse inside, for the page to say.

    ``NotFound`` goes on: ``signed_in`` makes it a 404. So does ``Forbidden``, a 403.
    """
    refusal = Refusal()
    try:
        yield refusal
    except NotFound:
        raise
    except (Invalid, SandboxError, HostError) as error:
        refusal.message = str(error)


@contextmanager
def refusals_told(request: HttpRequest) -> Iterator[Refusal]:
    """The same, said as a message on the next page."""
    with refusals() as refusal:
        yield refusal
    refusal.tell(request)


@contextmanager
def refusals_in(form: BaseForm, field: str | None = None) -> Iterator[Refusal]:
    """The same, said at a field of a form, or above all of them."""
    with refusals() as refusal:
        yield refusal
    if refusal:
        form.add_error(field, refusal.message)
