"""What leads from one page to others: the tabs of a sandbox, and the parts of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import Resolver404, resolve, reverse


@dataclass(frozen=True)
class Tab:
    """``name`` is its page's address in `pages_urls.py`, ``icon`` one of `icons.html`."""

    name: str
    label: str
    icon: str


TABS = (
    Tab("sandbox", "Timeline", "list"),
    Tab("sandbox-terminal", "Terminal", "prompt"),
    Tab("sandbox-files", "Files", "folder"),
    Tab("sandbox-network", "Network", "shield"),
    Tab("sandbox-metrics", "Metrics", "gauge"),
)

#: The parts of the settings, in the order they are shown. The first is what `/settings/` leads to.
SETTINGS = (
    Tab("members", "Members", "person"),
    Tab("settings-account", "Account", "gauge"),
    Tab("settings-masking", "Masking", "shield"),
    Tab("settings-webhooks", "Webhooks", "link"),
    Tab("settings-you", "Your sign-in", "key"),
)


def tab_to_return_to(request: HttpRequest, sandbox_id: str) -> str:
    """The tab on which somebody did something to a sandbox, by the request's referrer."""
    path = urlsplit(request.headers.get("Referer", "")).path
    try:
        match = resolve(path)
    except Resolver404:
        return reverse("sandbox", args=[sandbox_id])
    here = match.url_name in {tab.name for tab in TABS}
    name = match.url_name if here and match.url_name else "sandbox"
    return reverse(name, args=[sandbox_id])
