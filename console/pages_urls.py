"""The addresses of the operators' pages; they stay as they are from the first version on."""

from __future__ import annotations

from django.urls import path

from console.views import (
    auth,
    device,
    diffs,
    docs,
    exports,
    files,
    metrics,
    network,
    notes,
    output,
    pausing,
    ports,
    sandbox,
    sandboxes,
    signals,
    strip,
    terminal,
    tokens,
    usage,
)

_NOTE = "sandboxes/<str:sandbox_id>/notes/<int:seq>/"
_TERMINAL = "sandboxes/<str:sandbox_id>/terminal/"

urlpatterns = [
    path("", sandboxes.overview, name="overview"),
    path("login/", auth.login, name="login"),
    path("logout/", auth.logout, name="logout"),
    path("sandboxes/", sandboxes.sandboxes, name="sandboxes"),
    path("sandboxes/new/", sandboxes.sandbox_new, name="sandbox-new"),
    path("sandboxes/<str:sandbox_id>/", sandbox.sandbox, name="sandbox"),
    path("sandboxes/<str:sandbox_id>/rows/", sandbox.sandbox_rows, name="sandbox-rows"),
    path("sandboxes/<str:sandbox_id>/head/", sandbox.sandbox_head, name="sandbox-head"),
    path(
        "sandboxes/<str:sandbox_id>/commands/<str:command_id>/output/",
        output.command_output,
        name="command-output",
    ),
    path(
        "sandboxes/<str:sandbox_id>/commands/<str:command_id>/rest/",
        output.command_rest,
        name="command-rest",
    ),
    path("sandboxes/<str:sandbox_id>/strip/", strip.sandbox_strip, name="sandbox-strip"),
    path("sandboxes/<str:sandbox_id>/usage/", usage.sandbox_usage, name="sandbox-usage"),
    path("sandboxes/<str:sandbox_id>/ports/", ports.sandbox_ports, name="sandbox-ports"),
    path("sandboxes/<str:sandbox_id>/extend/", sandbox.sandbox_extend, name="sandbox-extend"),
    path("sandboxes/<str:sandbox_id>/pause/", pausing.pause, name="sandbox-pause"),
    path("sandboxes/<str:sandbox_id>/resume/", pausing.resume, name="sandbox-resume"),
    path("sandboxes/<str:sandbox_id>/terminate/", sandbox.sandbox_end, name="sandbox-terminate"),
    path("sandboxes/<str:sandbox_id>/hold/", pausing.hold, name="sandbox-hold"),
    path("sandboxes/<str:sandbox_id>/release/", pausing.release, name="sandbox-release"),
    path("sandboxes/<str:sandbox_id>/export/<str:form>/", exports.export, name="sandbox-export"),
    path("sandboxes/<str:sandbox_id>/signals/", signals.signals, name="sandbox-signals"),
    path(
        "sandboxes/<str:sandbox_id>/signals/<int:signal_id>/dismiss/",
        signals.dismiss,
        name="sandbox-signal-dismiss",
    ),
    path("sandboxes/<str:sandbox_id>/notes/", notes.notes, name="sandbox-notes"),
    path(_NOTE + "remove/", notes.remove, name="sandbox-note-remove"),
    path(_NOTE + "restore/", notes.restore, name="sandbox-note-restore"),
    path("sandboxes/<str:sandbox_id>/events/<int:seq>/pin/", notes.pin, name="sandbox-pin"),
    path("sandboxes/<str:sandbox_id>/events/<int:seq>/unpin/", notes.unpin, name="sandbox-unpin"),
    path("sandboxes/<str:sandbox_id>/events/<int:seq>/diff/", diffs.diff, name="sandbox-diff"),
    path("sandboxes/<str:sandbox_id>/network/", network.network, name="sandbox-network"),
    path("sandboxes/<str:sandbox_id>/network/allow/", network.allow, name="sandbox-network-allow"),
    path("sandboxes/<str:sandbox_id>/metrics/", metrics.metrics, name="sandbox-metrics"),
    path("sandboxes/<str:sandbox_id>/metrics/chart/", metrics.chart, name="sandbox-metrics-chart"),
    path("sandboxes/<str:sandbox_id>/files/", files.files, name="sandbox-files"),
    path("sandboxes/<str:sandbox_id>/files/tree/", files.tree, name="sandbox-files-tree"),
    path("sandboxes/<str:sandbox_id>/files/edit/", files.edit, name="sandbox-files-edit"),
    path("sandboxes/<str:sandbox_id>/files/new/", files.make, name="sandbox-files-make"),
    path("sandboxes/<str:sandbox_id>/files/rename/", files.rename, name="sandbox-files-rename"),
    path("sandboxes/<str:sandbox_id>/files/delete/", files.delete, name="sandbox-files-delete"),
    path("sandboxes/<str:sandbox_id>/files/upload/", files.upload, name="sandbox-files-upload"),
    path("sandboxes/<str:sandbox_id>/files/link/", files.link, name="sandbox-files-link"),
    path(
        "sandboxes/<str:sandbox_id>/files/download/", files.download, name="sandbox-files-download"
    ),
    path("sandboxes/<str:sandbox_id>/files/image/", files.image, name="sandbox-files-image"),
    path("sandboxes/<str:sandbox_id>/files/history/", diffs.history, name="sandbox-file-history"),
    path(_TERMINAL, terminal.terminal, name="sandbox-terminal"),
    path(_TERMINAL + "list/", terminal.terminal_list, name="terminal-list"),
    path(_TERMINAL + "open/", terminal.open_terminal, name="terminal-open"),
    path(_TERMINAL + "<str:terminal_id>/close/", terminal.close_terminal, name="terminal-close"),
    path(_TERMINAL + "<str:terminal_id>/recording/", terminal.recording, name="terminal-recording"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<str:token_id>/revoke/", tokens.token_end, name="token-end"),
    path("device/", device.device, name="device"),
    path("docs/", docs.docs, name="docs"),
]
