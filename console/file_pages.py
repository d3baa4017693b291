"""What the Files tab shows: the tree with what is open in it, a folder, or a file."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from asgiref.sync import async_to_sync
from django.utils.safestring import SafeString

from accounts.policy import Principal
from sandboxes.files import Head, file_head, folder_list, path_stat
from sandboxes.host.types import Entry, HostError
from timeline.highlighting import BYTES_LIMIT, highlighted, language_of

#: Where people work; the whole file system comes last, to look at.
ROOTS: Final = ("/workspace", "/tmp", "/persist", "/")  # noqa: S108 - paths inside the sandbox
WRITABLE: Final = ROOTS[:3]
PAGE: Final = 250
VIEW_LIMIT: Final = 512 * 1024
EDIT_LIMIT: Final = 512 * 1024
IMAGE_LIMIT: Final = 16 * 1024 * 1024
_DEEPEST: Final = 24

_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


@dataclass(slots=True)
class Node:
    """One line of the tree. ``children`` is None for what is closed."""

    path: str
    name: str
    is_dir: bool
    level: int
    children: list[Node] | None = None
    more: str = ""

    @property
    def is_named(self) -> bool:
        """Whether its name can be asked for: one that is not UTF-8 cannot."""
        return "\ufffd" not in self.name


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a folder; ``more`` names the last entry when there are others behind it."""

    path: str
    rows: list[tuple[Node, Entry]]
    total: int
    truncated: bool
    more: str


@dataclass(frozen=True, slots=True)
class View:
    """A file as a page shows it. ``text`` is None for what is none; ``lines`` are its HTML."""

    head: Head
    text: str | None
    lines: Sequence[SafeString]
    image: str
    is_editable: bool
    why_not_editable: str = ""


@dataclass(slots=True)
class Crumb:
    path: str
    name: str


@dataclass(slots=True)
class Where:
    """A path taken apart. ``is_writable`` where a sandbox lets callers write."""

    path: str
    crumbs: list[Crumb] = field(default_factory=list)

    @classmethod
    def of(cls, path: str) -> Where:
        crumbs, at = [Crumb("/", "/")], ""
        for name in filter(None, path.split("/")):
            at = f"{at}/{name}"
            crumbs.append(Crumb(at, name))
        return cls(path, crumbs)

    @property
    def name(self) -> str:
        return self.crumbs[-1].name

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path) or "/"

    @property
    def is_root(self) -> bool:
        return self.path in ROOTS

    @property
    def is_writable(self) -> bool:
        return any(self.path == root or self.path.startswith(f"{root}/") for root in WRITABLE)


def clean(path: str) -> str:
    """An address's path as it is shown and asked for; the working folder for none."""
    if not path.startswith("/"):
        return ROOTS[0]
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})


def listing(*, principal: Principal, sandbox_id: str, path: str, after: str = "") -> Listing:
    """A page of a folder's entries behind ``after``, a name with ``/`` behind a folder's."""
    found = async_to_sync(folder_list)(principal=principal, sandbox_id=sandbox_id, path=path)
    key = (not after.endswith("/"), after.rstrip("/"))
    behind = [e for e in found.entries if not after or (not e.is_dir, e.name) > key]
    page = behind[:PAGE]
    level = len(path.strip("/").split("/")) + 1
    rows = [(_node(path, entry, level), entry) for entry in page]
    last = page[-1] if len(behind) > PAGE else None
    more = last.name + ("/" if last.is_dir else "") if last else ""
    return Listing(path, rows, len(found.entries), found.truncated, more)


def _node(folder: str, entry: Entry, level: int) -> Node:
    return Node(posixpath.join(folder, entry.name), entry.name, entry.is_dir, level)


def tree(*, principal: Principal, sandbox_id: str, path: str) -> list[Node]:
    """The roots, opened down to ``path``. One that is not there is left out."""
    nodes = []
    home = next((root for root in WRITABLE if path == root or path.startswith(f"{root}/")), "/")
    for root in ROOTS:
        node = Node(root, root.strip("/") or "/", is_dir=True, level=1)
        if root == home:
            _open(node, path, principal, sandbox_id)
        elif root == "/persist":
            stat = async_to_sync(path_stat)(
                principal=principal, sandbox_id=sandbox_id, path="/persist"
            )
            if not stat.is_dir:
                continue
        nodes.append(node)
    return nodes


def _open(node: Node, path: str, principal: Principal, sandbox_id: str) -> None:
    if node.level > _DEEPEST:
        return
    try:
        page = listing(principal=principal, sandbox_id=sandbox_id, path=node.path)
    except HostError:
        return
    node.children, node.more = [child for child, _ in page.rows], page.more
    inside = node.path.rstrip("/") + "/"
    for child in node.children:
        child.level = node.level + 1
        if child.is_dir and f"{path}/".startswith(f"{child.path}/") and path.startswith(inside):
            _open(child, path, principal, sandbox_id)


def view(*, principal: Principal, sandbox_id: str, path: str) -> View:
    """A file, as much of it as a page shows."""
    head = async_to_sync(file_head)(
        principal=principal, sandbox_id=sandbox_id, path=path, limit=VIEW_LIMIT
    )
    image = image_type(head.content) if head.size <= IMAGE_LIMIT else ""
    text = None if image else text_of(head)
    why_not = why_not_editable(head, text)
    lines = _lines(path, text) if text else ()
    return View(head, text, lines, image, text is not None and not why_not, why_not)


def _lines(path: str, text: str) -> list[SafeString]:
    shown = text.removesuffix("\n").replace("\r\n", "\n")
    return highlighted(shown, language_of(path) if len(text) <= BYTES_LIMIT else "")


def text_of(head: Head) -> str | None:
    """None for what is binary. A character cut off at the end of a part is left out."""
    content = head.content
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        is_cut = not head.is_whole and error.start >= len(content) - 3
        return content[: error.start].decode() if is_cut else None


def why_not_editable(head: Head, text: str | None) -> str:
    """A sentence, or nothing for what a page's field gives back as it was."""
    if text is None:
        return "It is binary."
    if not head.is_whole or head.size > EDIT_LIMIT:
        return f"It is over {EDIT_LIMIT // 1024} KB."
    plain = text.replace("\r\n", "")
    if "\r" in plain or ("\r\n" in text and "\n" in plain):
        return "Its lines end in different ways, which a page cannot keep apart."
    return ""


def image_type(content: bytes) -> str:
    """The type of an image that browsers draw without running anything in it; empty for others."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGES if content.startswith(magic)), "")
