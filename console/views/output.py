"""A command's whole output: to download, to copy, and what its timeline left out to look at."""

from __future__ import annotations

import re
from typing import Final, cast

from asgiref.sync import async_to_sync
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.exports.download import download
from console.signed_in import signed_in
from sandboxes.host.types import HostError
from sandboxes.outputs import Command, command_of, output_from, output_pieces
from sandboxes.selectors import sandbox_for
from timeline import ansi
from timeline.render import has_long_line

_COMMAND_ID: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_BLOCK: Final = 16 * 1024
_OFFSET: Final = re.compile(r"[0-9]{1,18}")


@require_safe
@signed_in
def command_output(
    request: HttpRequest, principal: Principal, sandbox_id: str, command_id: str
) -> HttpResponse:
    """A text file, as the command wrote it but for secrets."""
    command = _command(principal, sandbox_id, command_id)
    response = download(
        output_pieces(command),
        name=f"{command.span}.txt",
        content_type="text/plain; charset=utf-8",
    )
    return cast(HttpResponse, response)  # a page like any other to who decorates it


@require_safe
@signed_in
def command_rest(
    request: HttpRequest, principal: Principal, sandbox_id: str, command_id: str
) -> HttpResponse:
    """As HTML, the piece behind ``from`` of what the timeline left out."""
    command = _command(principal, sandbox_id, command_id)
    offset = request.GET.get("from", "0")
    if not _OFFSET.fullmatch(offset):
        return HttpResponse("from is a whole number.", status=400)
    context: dict[str, object] = {}
    try:
        piece = async_to_sync(output_from)(command, offset=int(offset))
    except HostError:
        context["is_gone"] = True
    else:
        text = piece.data.decode("utf-8", "replace").replace("\0", "\u2400")
        parts = [ansi.to_html(part) for part in _parts(text)]
        context |= {"parts": parts, "next": piece.next, "left": piece.size - piece.next}
    return render(request, "console/parts/output_rest.html", context)


def _parts(text: str) -> list[str]:
    """One, or blocks of a bounded size where lines are endless."""
    if not has_long_line(text):
        return [text]
    return [text[at : at + _BLOCK] for at in range(0, len(text), _BLOCK)]


def _command(principal: Principal, sandbox_id: str, command_id: str) -> Command:
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    fits = _COMMAND_ID.fullmatch(command_id)
    command = command_of(sandbox_id=found.id, span=command_id) if fits else None
    if command is None:
        raise Http404("There is no such command.")
    return command
