"""What a sandbox can be made of on this host, and why not of the rest."""

from __future__ import annotations

from collections.abc import Mapping

from sandboxes.host.images.store import NAMES, Store, TemplateError
from sandboxes.host.runtime import Runtime
from sandboxes.host.types import Availability


def templates(store: Store) -> list[Availability]:
    """Every one there is a recipe for."""
    return [_template(store, name) for name in NAMES]


def _template(store: Store, name: str) -> Availability:
    try:
        store.load(name)
    except TemplateError as error:
        return Availability(name, ready=False, reason=str(error))
    return Availability(name, ready=True, reason="")


def isolations(runtimes: Mapping[str, Runtime]) -> list[Availability]:
    """Every class of isolation."""
    found = {name: runtime.trouble() for name, runtime in runtimes.items()}
    return [
        Availability(name, ready=trouble is None, reason=trouble or "")
        for name, trouble in found.items()
    ]
