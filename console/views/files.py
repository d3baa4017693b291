"""The Files tab. A page and the part of it that changes have one address each."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.policy import Principal, Scope, require
from console import file_pages
from console.diffs import diff_lines
from console.file_pages import Where, clean
from console.moments import asked_moment
from console.ranges import File
from console.refusals import Refusal, refusals
from console.signed_in import signed_in
from sandboxes.errors import SandboxError
from sandboxes.files import (
    file_head,
    file_save,
    folder_make,
    joined,
    path_delete,
    path_rename,
    path_stat,
)
from sandboxes.host.diffs import Before, change
from sandboxes.host.masking import Masker
from sandboxes.host.types import HostError
from sandboxes.models import Sandbox, Status
from sandboxes.presign import EXPIRES_MIN, Method, link_make
from sandboxes.selectors import sandbox_for
from timeline.moments import seq_at
from timeline.selectors import files_written

PANE: Final = "file-pane"
_MODE: Final = re.compile(r"[0-7]{1,5}")
_MISSING: Final = frozenset({"no_such_file", "not_a_directory"})


@require_safe
@signed_in
def files(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """The tree, and beside it a folder or a file."""
    require(principal, Scope.SANDBOXES_READ)
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    path = clean(request.GET.get("path", ""))
    if moment := asked_moment(request):
        seq = seq_at(sandbox_id=sandbox.id, at=moment)
        written = files_written(sandbox_id=sandbox.id, limit=100, last=seq)
        past = {"moment": moment, "written": written, "state": True}
        return _answer(request, {"sandbox": sandbox, "where": Where.of(path), **past})
    if sandbox.status != Status.RUNNING:
        written = files_written(sandbox_id=sandbox.id, limit=100)
        context = {"sandbox": sandbox, "where": Where.of(path), "written": written, "state": True}
        return _answer(request, context)
    try:
        context = _pane(principal, sandbox, path, request.GET.get("after", ""))
        status = 200
    except HostError as error:
        context = _trouble(sandbox, path, error)
        status = 404 if error.code in _MISSING else 502
    except SandboxError as error:
        context = {**_base(sandbox, path), "trouble": str(error)}
        status = 409
    context["ask"] = request.GET.get("ask", "")
    if "trouble" not in context:
        context |= _tree(request, principal, sandbox, path)
    return _answer(request, context, status=status)


def _tree(
    request: HttpRequest, principal: Principal, sandbox: Sandbox, path: str
) -> dict[str, Any]:
    """What stands beside the pane of a whole page."""
    if _is_part(request):
        return {}
    return {"tree": file_pages.tree(principal=principal, sandbox_id=sandbox.id, path=path)}


def _base(sandbox: Sandbox, path: str) -> dict[str, Any]:
    return {"sandbox": sandbox, "where": Where.of(path)}


def _pane(principal: Principal, sandbox: Sandbox, path: str, after: str) -> dict[str, Any]:
    """A path is what it is when it is read, so one is asked for as a folder first."""
    context = _base(sandbox, path)
    stat = async_to_sync(path_stat)(principal=principal, sandbox_id=sandbox.id, path=path)
    if not stat.exists:
        raise HostError("no_such_file", f"There is no {path}.")
    who: dict[str, Any] = {"principal": principal, "sandbox_id": sandbox.id, "path": path}
    if stat.is_dir:
        return {**context, "listing": file_pages.listing(**who, after=after)}
    return {**context, "view": file_pages.view(**who)}


def _trouble(sandbox: Sandbox, path: str, error: HostError) -> dict[str, Any]:
    is_missing = error.code in _MISSING
    return {**_base(sandbox, path), "trouble": error.message, "is_missing": is_missing}


def _is_part(request: HttpRequest) -> bool:
    return request.headers.get("HX-Target") == PANE


def _answer(request: HttpRequest, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """htmx shows nothing but successes, so a part that says what is wrong is one."""
    if _is_part(request):
        response = render(request, "console/parts/file_pane.html", context)
    else:
        response = render(request, "console/files.html", context, status=status)
    response["Vary"] = "HX-Request, HX-Target"
    return response


@require_safe
@signed_in
def tree(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """A folder's lines of the tree, a page of them."""
    path, after = clean(request.GET.get("path", "")), request.GET.get("after", "")
    with refusals() as refusal:
        page = file_pages.listing(
            principal=principal, sandbox_id=sandbox_id, path=path, after=after
        )
    if refusal:
        return _refused(request, principal, sandbox_id, refusal)
    level = request.GET.get("level", "")
    nodes = [node for node, _ in page.rows]
    for node in nodes:
        node.level = int(level) if level.isascii() and level.isdigit() and len(level) < 4 else 2
    context = {"nodes": nodes, "more": page.more, "folder": path, "sandbox_id": sandbox_id}
    return render(request, "console/parts/file_nodes.html", context)


Doing = Callable[[HttpRequest, Principal, str], tuple[str, str]]


def _change(do: Doing) -> Any:
    """A view that does something, then shows the path that ``do`` answers; beside it the folder
    whose lines of the tree are not what they were. What cannot be done is said there."""

    @require_POST
    @signed_in
    @functools.wraps(do)
    def view(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
        require(principal, Scope.SANDBOXES_WRITE)
        with refusals() as refusal:
            path, changed = do(request, principal, sandbox_id)
        if refusal:
            return _refused(request, principal, sandbox_id, refusal)
        if not request.headers.get("HX-Request"):
            return redirect(_address(sandbox_id, path))
        response = HttpResponse(status=204)
        response["HX-Location"] = _location(sandbox_id, path)
        response["HX-Trigger"] = json.dumps({"tree-changed": {"folder": changed}})
        return response

    return view


def _refused(
    request: HttpRequest, principal: Principal, sandbox_id: str, refusal: Refusal
) -> HttpResponse:
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    if request.headers.get("HX-Request"):
        return refusal.to_script()
    context = {**_base(sandbox, clean(request.POST.get("path", ""))), "trouble": refusal.message}
    return _answer(request, context, status=422)


def _address(sandbox_id: str, path: str) -> str:
    return f"{reverse('sandbox-files', args=[sandbox_id])}?{urlencode({'path': path})}"


def _location(sandbox_id: str, path: str) -> str:
    return json.dumps({"path": _address(sandbox_id, path), "target": f"#{PANE}"})


@_change
def make(request: HttpRequest, principal: Principal, sandbox_id: str) -> tuple[str, str]:
    """A new, empty file or a new folder."""
    folder = clean(request.POST.get("path", ""))
    path = joined(folder, request.POST.get("name", ""))
    who: dict[str, Any] = {"principal": principal, "sandbox_id": sandbox_id, "path": path}
    if request.POST.get("kind") == "folder":
        async_to_sync(folder_make)(**who)
    else:
        async_to_sync(_make_file)(**who)
    return path, folder


async def _make_file(*, principal: Principal, sandbox_id: str, path: str) -> None:
    try:
        await file_save(
            principal=principal, sandbox_id=sandbox_id, path=path, content=b"", replacing=""
        )
    except HostError as error:
        if error.code != "file_changed":
            raise
        raise HostError("file_exists", f"{path} exists already; choose another name.") from None


@_change
def rename(request: HttpRequest, principal: Principal, sandbox_id: str) -> tuple[str, str]:
    """Another name in the same folder."""
    where = Where.of(clean(request.POST.get("path", "")))
    path = async_to_sync(path_rename)(
        principal=principal,
        sandbox_id=sandbox_id,
        path=where.path,
        name=request.POST.get("name", ""),
    )
    return path, where.folder


@_change
def delete(request: HttpRequest, principal: Principal, sandbox_id: str) -> tuple[str, str]:
    """Gone, a folder with all in it."""
    where = Where.of(clean(request.POST.get("path", "")))
    async_to_sync(path_delete)(principal=principal, sandbox_id=sandbox_id, path=where.path)
    return where.folder, where.folder


@_change
def upload(request: HttpRequest, principal: Principal, sandbox_id: str) -> tuple[str, str]:
    """A file of up to 16 MiB by a plain form; a script sends larger ones by a signed link."""
    folder = clean(request.POST.get("path", ""))
    sent = request.FILES.get("file")
    if sent is None:
        raise HostError("invalid", "Choose a file first.")
    path = joined(folder, sent.name or "")
    async_to_sync(_make_file_of)(
        principal=principal, sandbox_id=sandbox_id, path=path, content=sent.read()
    )
    return path, folder


async def _make_file_of(
    *, principal: Principal, sandbox_id: str, path: str, content: bytes
) -> None:
    try:
        await file_save(
            principal=principal, sandbox_id=sandbox_id, path=path, content=content, replacing=""
        )
    except HostError as error:
        if error.code != "file_changed":
            raise
        message = f"{path} exists already; delete it first, or give yours another name."
        raise HostError("file_exists", message) from None


@require_POST
@signed_in
def link(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Where a script sends a file of any size to, and whether something is there already."""
    require(principal, Scope.SANDBOXES_WRITE)
    with refusals() as refusal:
        path = joined(clean(request.POST.get("path", "")), request.POST.get("name", ""))
        stat = async_to_sync(path_stat)(principal=principal, sandbox_id=sandbox_id, path=path)
        made = _link(principal, sandbox_id, "PUT", path)
    if refusal:
        return JsonResponse({"message": refusal.message}, status=422)
    return JsonResponse({"url": made, "exists": stat.exists, "is_folder": stat.is_dir})


def _link(principal: Principal, sandbox_id: str, method: Method, path: str) -> str:
    return link_make(
        principal=principal, sandbox_id=sandbox_id, method=method, path=path, expires_in=EXPIRES_MIN
    ).address


@require_safe
@signed_in
def download(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """A file of any size, by a signed link of a minute."""
    sandbox_for(principal=principal, sandbox_id=sandbox_id)
    path = clean(request.GET.get("path", ""))
    with refusals() as refusal:
        return redirect(_link(principal, sandbox_id, "GET", path))
    return _refused(request, principal, sandbox_id, refusal)


@require_safe
@signed_in
def image(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """An image to look at: a type that runs nothing, told by its bytes, in a sandbox of its own."""
    path = clean(request.GET.get("path", ""))
    with refusals() as refusal:
        head = async_to_sync(file_head)(
            principal=principal,
            sandbox_id=sandbox_id,
            path=path,
            limit=file_pages.IMAGE_LIMIT,
        )
    if refusal:
        return HttpResponse(refusal.message, status=409, content_type="text/plain; charset=utf-8")
    kind = file_pages.image_type(head.content)
    if not kind or not head.is_whole:
        return HttpResponse("No image.", status=415, content_type="text/plain")
    file = File(path, head.size, head.modified_at)
    headers = file.headers(offset=0, length=head.size)
    headers["Content-Disposition"] = headers["Content-Disposition"].replace("attachment", "inline")
    response = HttpResponse(head.content, headers={**headers, "Content-Type": kind})
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """A field with a file's text; saved only over what it was made from."""
    require(principal, Scope.SANDBOXES_WRITE)
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    fields = request.POST if request.method == "POST" else request.GET
    path = clean(fields.get("path", ""))
    context = {**_base(sandbox, path), "editing": True}
    with refusals() as refusal:
        if request.method != "POST":
            context |= _field(principal, sandbox.id, path)
            return _answer(request, context | _tree(request, principal, sandbox, path))
        return _save(request, principal, sandbox, path)
    if request.method == "POST":  # what was typed is not lost
        typed = {"text": request.POST.get("content", ""), "wrong": refusal.message}
        kept = {name: request.POST.get(name, "") for name in ("version", "eol", "mode")}
        return _answer(request, {**context, **typed, **kept}, status=409)
    return _answer(request, {**_base(sandbox, path), "trouble": refusal.message}, status=409)


def _field(principal: Principal, sandbox_id: str, path: str) -> dict[str, Any]:
    head = async_to_sync(file_head)(
        principal=principal, sandbox_id=sandbox_id, path=path, limit=file_pages.EDIT_LIMIT
    )
    text = file_pages.text_of(head)
    if why_not := file_pages.why_not_editable(head, text):
        raise HostError("invalid", f"{path} cannot be edited here. {why_not} Download it instead.")
    eol = "crlf" if "\r\n" in (text or "") else "lf"
    return {"text": text, "version": head.version, "eol": eol, "mode": f"{head.mode:o}"}


def _save(request: HttpRequest, principal: Principal, sandbox: Sandbox, path: str) -> HttpResponse:
    text = request.POST.get("content", "").replace("\r\n", "\n")
    content = (text.replace("\n", "\r\n") if request.POST.get("eol") == "crlf" else text).encode()
    mode = request.POST.get("mode", "")
    try:
        async_to_sync(file_save)(
            principal=principal,
            sandbox_id=sandbox.id,
            path=path,
            content=content,
            replacing=request.POST.get("version", ""),
            mode=int(mode, 8) if _MODE.fullmatch(mode) else 0o644,
        )
    except HostError as error:
        if error.code != "file_changed":
            raise
        return _conflict(request, principal, sandbox, path, content)
    if request.headers.get("HX-Request"):
        response = HttpResponse(status=204)
        response["HX-Location"] = _location(sandbox.id, path)
        response["HX-Trigger"] = json.dumps({"file-saved": {"path": path}})
        return response
    return redirect(_address(sandbox.id, path))


def _conflict(
    request: HttpRequest, principal: Principal, sandbox: Sandbox, path: str, mine: bytes
) -> HttpResponse:
    """Both, as what one would change of the other. Saving once more is over what is shown here."""
    context = {**_base(sandbox, path), "editing": True, "conflict": True}
    kept = {"text": request.POST.get("content", ""), "eol": request.POST.get("eol", "")}
    kept["mode"] = request.POST.get("mode", "")
    try:
        head = async_to_sync(file_head)(
            principal=principal,
            sandbox_id=sandbox.id,
            path=path,
            limit=file_pages.EDIT_LIMIT,
        )
    except HostError as error:
        if error.code not in _MISSING:
            raise
        return _answer(request, {**context, **kept, "version": "", "is_gone": True}, status=409)
    told = change(Before(True, head.content if head.is_whole else None), mine, Masker([]))
    lines = diff_lines({**told, "path": path})
    shown = {"lines": lines, "no_diff": told.get("no_diff"), "version": head.version}
    return _answer(request, {**context, **kept, **shown}, status=409)
