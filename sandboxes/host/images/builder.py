"""Builds templates one after another, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandboxes.host.images import debian, interpreter, node, python
from sandboxes.host.images.store import NAMES, Store, Template, TemplateError
from sandboxes.host.images.workspace import Workspace, say
from sandboxes.host.locks import try_lock

_LOCK_SECONDS = 1800
#: No sandbox lives as long as this, so a layer replaced that long ago has no users.
_KEEP_REPLACED_SECONDS = 86400
_SCRATCH = "building-"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one template is made. ``describe`` gives all that decides its content, cheaply."""

    parent: str | None
    describe: Callable[[], Mapping[str, Any]]
    build: Callable[[Workspace], None]
    env: Mapping[str, str] = field(default_factory=dict)


RECIPES: Mapping[str, Recipe] = {
    "debian-12": Recipe(None, debian.describe, debian.build, debian.ENV),
    "python-3.12-bare": Recipe("debian-12", python.describe_bare, python.build_bare, python.ENV),
    "python-3.12": Recipe("python-3.12-bare", python.describe, python.build),
    "node-22": Recipe("debian-12", node.describe, node.build, node.ENV),
    interpreter.NAME: Recipe(
        "python-3.12", interpreter.describe, interpreter.build, interpreter.ENV
    ),
}


def build(directory: Path, names: Sequence[str] = NAMES) -> dict[str, str]:
    """Build what is missing or outdated; why each template that cannot be had cannot be had."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    store = Store(directory)
    failures: dict[str, str] = {}
    with _lock(directory):
        _sweep(directory)
        for name in _with_parents(names):
            try:
                _ensure(store, name)
            except (TemplateError, OSError) as error:
                failures[name] = str(error)
                store.save_reason(name, str(error))
                say(f"{name}: cannot be had. {error}")
        _prune(store)
    return failures


def recipe_hash(name: str) -> str:
    """Changes when the template's own recipe or any of its parents' does."""
    recipe = RECIPES[name]
    below = recipe_hash(recipe.parent) if recipe.parent else ""
    text = json.dumps([name, below, recipe.describe(), dict(recipe.env)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _with_parents(names: Sequence[str]) -> list[str]:
    wanted: set[str] = set()
    for name in names:
        if name not in RECIPES:
            raise TemplateError(f"There is no template {name}; take one of {', '.join(NAMES)}.")
        here: str | None = name
        while here:
            wanted.add(here)
            here = RECIPES[here].parent
    return [name for name in NAMES if name in wanted]


def _ensure(store: Store, name: str) -> None:
    started = time.monotonic()
    wanted = recipe_hash(name)
    try:
        current = store.load(name)
    except TemplateError:
        current = None
    if current is not None and current.recipe == wanted:
        debian.trust(store.paths(current)[-1])
        say(f"{name}: ready")
        return
    _make(store, name, wanted)
    say(f"{name}: built in {time.monotonic() - started:.1f} s")


def _make(store: Store, name: str, wanted: str) -> None:
    """Work in a scratch folder, name the layer by its hash, then point the template at it."""
    recipe = RECIPES[name]
    parent = store.load(recipe.parent) if recipe.parent else None
    scratch = store.directory / f"{_SCRATCH}{name}-{os.getpid()}"
    layer = scratch / "out" / "layer"
    layer.mkdir(parents=True, mode=0o755)
    try:
        below = store.paths(parent) if parent else []
        recipe.build(Workspace(name, layer, scratch, below))
        target = store.directory / f"{name}@{wanted}"
        shutil.rmtree(target, ignore_errors=True)
        (scratch / "out").rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    layers = (target.name, *(parent.layers if parent else ()))
    env = {**(parent.env if parent else {}), **recipe.env}
    store.save(Template(name, wanted, layers, env))


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """One builder at a time, also between two installations that share the folder."""
    with (directory / ".lock").open("w") as file:
        deadline = time.monotonic() + _LOCK_SECONDS
        told = False
        while not try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise TemplateError("Another build of templates has not ended for half an hour.")
            if not told:
                say("another build of templates is running; waiting for it")
                told = True
            time.sleep(0.5)
        yield


def _sweep(directory: Path) -> None:
    """Remove what killed builds left."""
    for leftover in directory.glob(f"{_SCRATCH}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _prune(store: Store) -> None:
    """Remove layers that no template has used for a day; note when one stops being used."""
    used: set[str] = set()
    for name in NAMES:
        try:
            used |= set(store.load(name).layers)
        except TemplateError:
            continue
    for path in store.directory.glob("*@*"):
        mark = path / "replaced"
        if path.name in used:
            mark.unlink(missing_ok=True)
        elif not mark.exists():
            mark.touch()
        elif time.time() - mark.stat().st_mtime > _KEEP_REPLACED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
