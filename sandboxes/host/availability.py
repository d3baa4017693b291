"""What a sandbox can be made of on this host, and why not of the rest."""

from __future__ import annotations

from collections.abc import Mapping

from sandboxes.host.images.store import NAMES, Store, TemplateError
from sandboxes.host.runtime import Runtime
from sandboxes.host.types import IsolationInfo, TemplateInfo


def templates(store: Store) -> list[TemplateInfo]:
    """Every one there is a recipe for."""
    return [_template(store, name) for name in NAMES]


def _template(store: Store, name: str) -> TemplateInfo:
    try:
        store.load(name)
    except TemplateError as error:
        return TemplateInfo(name, ready=False, reason=str(error))
    return TemplateInfo(name, ready=True, reason="")


def isolations(runtimes: Mapping[str, Runtime]) -> list[IsolationInfo]:
    """Every class of isolation."""
    found = {name: runtime.trouble() for name, runtime in runtimes.items()}
    return [
        IsolationInfo(name, ready=trouble is None, reason=trouble or "")
        for name, trouble in found.items()
    ]
