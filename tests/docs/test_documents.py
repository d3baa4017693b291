"""What the documents say, held against the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import URLResolver, get_resolver, resolve

from console import platform_api
from sandboxes.api import urls

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = ("accounts", "console", "sandboxes", "timeline", "clients")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TREE_PATH = re.compile(
    r"`((?:accounts|clients|console|deploy|docs|sandboxes|static|templates|tests|timeline)/[^`\s*<]*)`"
)
_TARGET = re.compile(r"`make ([a-z-]+)")
_METRIC = re.compile(r"`(orkestr_[a-z_]+)`")
_FILE = re.compile(r"`([\w./-]+\.(?:py|html|js|mjs|css|c|h|yml|json|md|txt|in|toml|sh))`")
_ADDRESS = re.compile(r"(?:`|(?:GET|POST|PUT|PATCH|DELETE) )(/[^\s`|,]*)")
#: What a sandbox or a machine has at such a path, somebody else's server, and a path as such.
_ELSEWHERE = ("/persist", "/tmp", "/workspace", "/proc/", "/sys/", "/hook", "//", "/./", "/../")
_IN_THERE = {"/dev", "/dev/shm"}
#: What answers below the APIs where there is nothing.
_NO_ROUTES = (platform_api.no_route, urls.no_route)
#: Served beside Django, and prefixes of what it serves.
_BESIDE = {"/api/sandboxes/mcp", "/files/", "/ws/", "/ws/fleet/", "/v1", "/admin/"}
#: Folders that set-up makes.
_MADE = {"var", "node_modules", "staticfiles", "test-results"}
#: Addresses of answers, not of files of the tree.
_ANSWERS = {"/v1/openapi.json"}
_VARIABLE = re.compile(r"""["'](ORKESTR_[A-Z_]+)["']""")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in _LINK.findall(document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_path_that_is_named_is_there(document: Path) -> None:
    for path in _TREE_PATH.findall(document.read_text()):
        plain = path.split(":")[0].split(",")[0].rstrip("/")
        braces = re.sub(r"\{.*", "", plain)
        assert (ROOT / braces).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_file_that_is_named_by_the_end_of_its_path_is_there(document: Path) -> None:
    for name in set(_FILE.findall(document.read_text())) - _ANSWERS:
        assert any(f"/{path}".endswith(f"/{name}") for path in _tree()), name


@cache
def _tree() -> list[str]:
    tops = [path for path in ROOT.iterdir() if path.name not in _MADE and path.name[0] != "."]
    below = [path for top in tops if top.is_dir() for path in top.rglob("*.*")]
    return [str(path.relative_to(ROOT)) for path in (*tops, *below)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_address_that_is_named_is_answered(document: Path) -> None:
    for address in _ADDRESS.findall(document.read_text()):
        plain = re.sub(r"<\w+>|\{\w+\}", "x", address.partition("?")[0])
        if plain in _BESIDE | _IN_THERE or plain.startswith(_ELSEWHERE):
            continue
        if plain.endswith("…"):
            assert any(f"/{route}".startswith(plain[:-1]) for route in _routes()), address
        else:
            assert resolve(plain).func not in _NO_ROUTES, address


@cache
def _routes() -> list[str]:
    def walk(resolver: URLResolver, prefix: str) -> Iterator[str]:
        for each in resolver.url_patterns:
            here = prefix + str(each.pattern)
            yield from walk(each, here) if isinstance(each, URLResolver) else [here]

    return list(walk(get_resolver(), ""))


def test_every_command_of_manage_py_that_is_named_exists() -> None:
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"manage\.py ([a-z_]+)", document.read_text())
    }
    assert named
    assert named <= set(get_commands())


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_make_target_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in _TARGET.findall(document.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_variable_the_code_reads_is_described() -> None:
    described = (ROOT / "docs/architecture.md").read_text()
    sources = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in sources for name in _VARIABLE.findall(path.read_text())}
    missing = sorted(name for name in read if f"`{name}`" not in described)
    assert not missing, f"docs/architecture.md does not describe {missing}"


def test_every_variable_that_is_described_is_read() -> None:
    sources = [path for folder in CODE for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    code = "\n".join(path.read_text(errors="replace") for path in sources)
    for document in DOCUMENTS:
        for name in set(re.findall(r"\bORKESTR_[A-Z_]+[A-Z]\b", document.read_text())):
            assert name in code, f"{document.name} describes {name}"


def test_every_setting_that_is_described_passes_make_up() -> None:
    """Whoever sets one in front of `make up` must not find that it was dropped on the way."""
    passed = (ROOT / "console/launch/environment.py").read_text()
    passed += (ROOT / "console/launch/layout.py").read_text()
    settings = (ROOT / "console/settings.py").read_text()
    missing = {name for name in _VARIABLE.findall(settings) if f'"{name}"' not in passed}
    assert missing <= {"ORKESTR_DATABASE_POOL"}, missing


def test_what_the_handbook_types_for_make_is_passed_on() -> None:
    makefile = (ROOT / "Makefile").read_text()
    passed = set(re.findall(r"^export (?!ORKESTR)(.*)$", makefile, re.MULTILINE)[0].split())
    text = (ROOT / "docs/operating.md").read_text()
    named = set(re.findall(r"\b([A-Z]{2,}(?:_[A-Z]+)*)=", text)) - {"DATABASE_URL", "REDIS_URL"}
    own = {name for name in named if not name.startswith("ORKESTR_")}
    assert {"DATA", "SERVERS", "WORKERS", "TO", "FROM"} <= own <= passed


def test_every_alert_is_explained() -> None:
    rules = (ROOT / "deploy/alerts.yml").read_text()
    text = (ROOT / "docs/operating.md").read_text()
    assert set(re.findall(r"alert: (\w+)", rules)) == set(re.findall(r"`(Orkestr\w+)`", text))


def test_every_metric_that_is_named_exists() -> None:
    """And each that exists is described."""
    sources = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    text = (ROOT / "docs/observability.md").read_text()
    named = set(_METRIC.findall(text))
    assert named
    for name in named:
        assert f'"{name}"' in code or f'"{name.removeprefix("orkestr_")}"' in code, name
    defined = set(re.findall(r'"(orkestr_[a-z_]+)",', code))
    assert not defined - named, f"docs/observability.md does not describe {defined - named}"


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs/dependencies.md").read_text().lower()
    for file in sorted((ROOT / "requirements").glob("*.in")):
        for line in file.read_text().splitlines():
            name = re.match(r"[a-z0-9][a-z0-9_.-]*", line)
            if name is None:
                continue
            plain = name.group().removeprefix("types-")
            assert plain in reasons or plain.replace("-", " ") in reasons, name.group()


def test_every_package_of_the_front_end_has_its_licence_beside_it() -> None:
    vendored = {path.name for path in (ROOT / "static/vendor").iterdir() if path.is_file()}
    assert vendored, "static/vendor is empty"
    assert list((ROOT / "static/vendor/licences").glob("*.txt"))


def test_no_lock_file_names_an_address() -> None:
    locks = [*(ROOT / "requirements").glob("*.txt"), ROOT / "package-lock.json"]
    for lock in locks:
        assert not re.search(
            r'"resolved"|--index-url|https?://[^\s"]+\.(?:whl|tgz|tar\.gz)', lock.read_text()
        ), lock
