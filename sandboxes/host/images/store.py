"""The templates folder.

``<name>.json`` says which layers make up a template, topmost first; ``<name>@<hash>/`` is one
layer. Templates share files by sharing layers. A layer never changes once it is named, so a
sandbox that runs on an older one is not disturbed by a new build.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: Every template there is a recipe for, in the order they are built.
NAMES = ("debian-12", "python-3.12-bare", "python-3.12", "node-22", "code-interpreter")


class TemplateError(Exception):
    """Why a template cannot be had: one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Template:
    """One built template. ``layers`` are folder names, topmost first; ``env`` goes into sandboxes.

    ``recipe`` is the hash of everything that decides the content.
    """

    name: str
    recipe: str
    layers: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class Store:
    """Reads and writes the templates folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, name: str) -> Template:
        """Raises ``TemplateError`` when it is unknown, not built, or a layer is gone."""
        if name not in NAMES:
            raise TemplateError(f"There is no template {name}; take one of {', '.join(NAMES)}.")
        try:
            row = json.loads(self._pointer(name).read_text())
            template = Template(row["name"], row["recipe"], tuple(row["layers"]), row["env"])
        except FileNotFoundError:
            raise TemplateError(self.reason(name)) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TemplateError(f"Template {name} cannot be read ({error}); build it again.") from (
                error
            )
        for path in self.paths(template):
            if not path.is_dir():
                raise TemplateError(f"Template {name} lost its layer {path.name}; build it again.")
        return template

    def paths(self, template: Template) -> list[Path]:
        """Its layers' folders, topmost first."""
        return [self.directory / layer / "layer" for layer in template.layers]

    def save(self, template: Template) -> None:
        """Make this the template of its name, at once."""
        pointer = self._pointer(template.name)
        scratch = pointer.with_suffix(".json.new")
        scratch.write_text(json.dumps(asdict(template), indent=2) + "\n")
        scratch.rename(pointer)
        self._failure(template.name).unlink(missing_ok=True)

    def save_reason(self, name: str, reason: str) -> None:
        """Remember why the last build failed, so that callers can be told."""
        self._failure(name).write_text(reason + "\n")

    def reason(self, name: str) -> str:
        """Why a template is not there."""
        try:
            return self._failure(name).read_text().strip()
        except FileNotFoundError:
            return f"Template {name} is not built yet; run `make up` or build the templates."

    def _pointer(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _failure(self, name: str) -> Path:
        return self.directory / f"{name}.failed"
