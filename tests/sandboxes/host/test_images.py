"""Templates: built whole or not at all, once, and from this machine's own sources."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandboxes.host.images import builder, debian, store
from sandboxes.host.images.builder import Recipe
from sandboxes.host.images.store import Store, TemplateError
from sandboxes.host.images.workspace import Workspace

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: trixie trixie-updates trixie-backports
Components: main contrib

Types: deb
URIs: http://mirror.example/security
Suites: trixie-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://vendor.example/tools
Suites: stable
Components: main
"""


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recipe]:
    """Three small templates in place of the real ones: a base, one on it, one that fails."""

    def fail(workspace: Workspace) -> None:
        (workspace.layer / "half").write_text("made")
        raise TemplateError("The mirror does not answer; try again later.")

    table = {
        "base": Recipe(None, lambda: {"v": 1}, writes("base"), {"A": "1", "B": "1"}),
        "top": Recipe("base", lambda: {"v": 1}, writes("top"), {"B": "2"}),
        "broken": Recipe(None, lambda: {"v": 1}, fail),
    }
    for module in (builder, store):
        monkeypatch.setattr(module, "NAMES", tuple(table))
    monkeypatch.setattr(builder, "RECIPES", table)
    monkeypatch.setattr(debian, "trust", lambda layer: None)
    return table


def writes(text: str) -> Callable[[Workspace], None]:
    def build(workspace: Workspace) -> None:
        with workspace.step("write"):
            (workspace.layer / "file").write_text(text)

    return build


@pytest.mark.usefixtures("recipes")
def test_it_builds_the_others_when_one_cannot_be_had(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failures = builder.build(tmp_path, ("base", "broken", "top"))
    assert failures == {"broken": "The mirror does not answer; try again later."}
    top = Store(tmp_path).load("top")
    assert [path.joinpath("file").read_text() for path in Store(tmp_path).paths(top)] == [
        "top",
        "base",
    ]
    assert top.env == {"A": "1", "B": "2"}
    with pytest.raises(TemplateError, match="mirror does not answer"):
        Store(tmp_path).load("broken")
    assert not list(tmp_path.glob("building-*"))
    printed = capfd.readouterr().out
    assert "base: write (0.0 s)" in printed
    assert "broken: cannot be had. The mirror does not answer" in printed


@pytest.mark.usefixtures("recipes")
def test_the_second_run_builds_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    builder.build(tmp_path, ("top",))
    stamp = (tmp_path / "top.json").stat().st_mtime_ns
    capfd.readouterr()
    assert builder.build(tmp_path, ("top",)) == {}
    assert (tmp_path / "top.json").stat().st_mtime_ns == stamp
    assert capfd.readouterr().out == "base: ready\ntop: ready\n"


def test_a_changed_recipe_makes_a_new_layer_and_leaves_the_old_one_in_place(
    tmp_path: Path, recipes: dict[str, Recipe]
) -> None:
    builder.build(tmp_path, ("top",))
    before = Store(tmp_path).load("top")
    recipes["base"] = Recipe(None, lambda: {"v": 2}, writes("newer"))
    builder.build(tmp_path, ("top",))
    after = Store(tmp_path).load("top")
    assert set(before.layers).isdisjoint(after.layers)
    assert all(path.is_dir() for path in Store(tmp_path).paths(before))
    assert (Store(tmp_path).paths(after)[-1] / "file").read_text() == "newer"


def test_layers_without_users_for_a_day_are_removed(
    tmp_path: Path, recipes: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.build(tmp_path, ("base",))
    old = Store(tmp_path).paths(Store(tmp_path).load("base"))[0]
    recipes["base"] = Recipe(None, lambda: {"v": 2}, writes("newer"))
    builder.build(tmp_path, ("base",))
    assert old.is_dir()
    tomorrow = time.time() + 90_000
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    builder.build(tmp_path, ("base",))
    assert not old.exists()
    assert Store(tmp_path).load("base").name == "base"


@pytest.mark.usefixtures("recipes")
def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "building-base-99999" / "out" / "layer"
    leftover.mkdir(parents=True)
    (leftover / "file").write_text("half")
    builder.build(tmp_path, ("base",))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        Store(tmp_path).load("base").layers[0]
    ]


@pytest.mark.usefixtures("recipes")
def test_a_template_that_lost_its_layer_is_built_again(tmp_path: Path) -> None:
    builder.build(tmp_path, ("base",))
    template = Store(tmp_path).load("base")
    (tmp_path / template.layers[0]).rename(tmp_path / "elsewhere")
    with pytest.raises(TemplateError, match="lost its layer"):
        Store(tmp_path).load("base")
    assert builder.build(tmp_path, ("base",)) == {}
    assert Store(tmp_path).load("base").name == "base"


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "base"}', "null"])
def test_a_damaged_pointer_is_an_unbuilt_template(tmp_path: Path, text: str) -> None:
    builder.build(tmp_path, ("base",))
    (tmp_path / "base.json").write_text(text)
    with pytest.raises(TemplateError, match="build it again"):
        Store(tmp_path).load("base")
    assert builder.build(tmp_path, ("base",)) == {}


def test_an_unknown_template_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="There is no template beos"):
        builder.build(tmp_path, ("beos",))


def test_it_uses_the_machines_own_mirror_for_our_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "apt" / "sources.list.d"
    listed.mkdir(parents=True)
    (listed / "debian.sources").write_text(DEB822)
    (tmp_path / "apt" / "sources.list").write_text(
        "deb [arch=amd64] http://old.example/debian bullseye main\n"
        "# deb http://off.example/debian bullseye main\n"
        "deb http://vendor.example/apt cloud-sdk main\n"
    )
    monkeypatch.setattr(debian, "_APT", tmp_path / "apt")
    path = debian.sources(tmp_path)
    assert path is not None
    found = [line.split("] ")[1] for line in path.read_text().splitlines()]
    assert found == [
        "http://mirror.example/debian bookworm main",
        "http://mirror.example/debian bookworm-updates main",
        "http://mirror.example/security bookworm-security main",
        "http://old.example/debian bookworm main",
    ]


def test_another_distributions_mirror_is_not_asked_for_our_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror.example/ubuntu noble main\n")
    monkeypatch.setattr(debian, "_APT", tmp_path)
    assert debian.sources(tmp_path) is None


def test_the_built_templates_keep_nothing_private(templates: Path) -> None:
    base = Store(templates).paths(Store(templates).load("debian-12"))[-1]
    kept = [path.name for path in (base / "etc/apt/apt.conf.d").iterdir()]
    assert not [name for name in kept if "mmdebstrap" in name or "proxy" in name]
    assert (base / "etc/resolv.conf").read_text() == ""
    assert not (base / "etc/hostname").exists()
    assert list((base / "dev").iterdir()) == []
    owners = {(path.lstat().st_uid, path.name) for path in (base / "etc").iterdir()}
    assert not [name for uid, name in owners if uid != 0]


def test_templates_share_the_base(templates: Path) -> None:
    shelf = Store(templates)
    bases = {shelf.load(name).layers[-1] for name in store.NAMES}
    assert len(bases) == 1


def test_its_command_line_needs_a_folder_and_a_known_name() -> None:
    command = [sys.executable, "-m", "sandboxes.host.images", "build"]
    nowhere = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert nowhere.returncode == 2
    assert "ORKESTR_TEMPLATES_DIR" in nowhere.stderr
    unknown = subprocess.run(
        [*command, "--dir", "/tmp", "beos"], capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 1
    assert "There is no template beos" in unknown.stdout
