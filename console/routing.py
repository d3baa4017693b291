"""The websockets of the console, all under `/ws/`."""

from __future__ import annotations

from django.urls import path

from console.consumers import SandboxTimeline
from console.lists.socket import SandboxLists
from console.terminal_socket import TerminalSocket
from console.wall.socket import FleetWall

websocket_urlpatterns = [
    path("ws/fleet/", FleetWall.as_asgi()),
    path("ws/sandboxes/", SandboxLists.as_asgi()),
    path("ws/sandboxes/<str:sandbox_id>/timeline/", SandboxTimeline.as_asgi()),
    path(
        "ws/sandboxes/<str:sandbox_id>/terminals/<str:terminal_id>/",
        TerminalSocket.as_asgi(),
    ),
]
