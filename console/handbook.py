"""The operator's documents as pages: the files of ``docs/``, with this installation's address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER: Final = Path(settings.BASE_DIR) / "docs"
#: Which there are, in this order, and what the list of them says.
DOCUMENTS: Final = {
    "operating": "Install and run",
    "observability": "Metrics, health and logs",
    "isolation": "Isolation classes",
    "previews": "Previews",
    "metering": "Metering",
    "webhooks": "Webhooks",
    "volumes": "Volumes",
    "pausing": "Pause and resume",
    "watching": "Watching runs",
    "terminal": "Terminals",
    "mcp": "MCP",
    "command-line": "Command line",
    "javascript": "JavaScript client",
    "api": "The API's promises",
}
#: The address that the files use for an installation.
EXAMPLE: Final = "https://console.example.org"
_LINK: Final = re.compile(r"^([a-z-]+)\.md(#.*)?$")
_ODD: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Document:
    """One of them; ``parts`` are the ids and titles of its sections."""

    name: str
    title: str
    html: SafeString
    parts: list[tuple[str, str]]


@cache
def document(name: str) -> Document:
    """Raises ``KeyError`` for what is none."""
    DOCUMENTS[name]
    text = (FOLDER / f"{name}.md").read_text().replace(EXAMPLE, settings.ORKESTR_BASE_URL)
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    title, parts = "", []
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            anchor = _ODD.sub("-", content.content.lower()).strip("-")
            token.attrSet("id", anchor)
            if token.tag == "h1":
                title = content.content
            elif token.tag == "h2":
                parts.append((anchor, content.content.replace("`", "")))
        _adapt(content)
    html = markdown.renderer.render(_reachable(tokens), markdown.options, {})
    return Document(name, title, mark_safe(html), parts)  # noqa: S308 - rendered without raw HTML


def _adapt(token: Token) -> None:
    """Links to other documents lead to their pages; to what has no page, to where it lies."""
    children = token.children or []
    for child, text in zip(children, [*children[1:], None], strict=False):
        if child.type == "link_open" and (found := _LINK.match(str(child.attrs.get("href", "")))):
            name, part = found.group(1), found.group(2) or ""
            target = reverse("handbook", args=[name]) if name in DOCUMENTS else None
            child.attrSet("href", (target or reverse("docs")) + (part if target else ""))
            if text is not None and text.content == f"{name}.md":
                text.content = DOCUMENTS.get(name, name)


def _reachable(tokens: list[Token]) -> list[Token]:
    """What may be wider than a page is scrolled by itself, with the keyboard too."""
    found: list[Token] = []
    for token in tokens:
        if token.type == "table_open":
            found.append(_wrap('<div class="handbook-wide" tabindex="0">'))
        found.append(token)
        if token.type == "table_close":
            found.append(_wrap("</div>"))
        if token.type in {"fence", "code_block"}:
            token.attrSet("tabindex", "0")
    return found


def _wrap(html: str) -> Token:
    token = Token("html_block", "", 0)
    token.content = html
    return token


def listed() -> list[dict[str, Any]]:
    """For the list of documents beside each."""
    return [{"name": name, "label": label} for name, label in DOCUMENTS.items()]
