"""What every test may ask for. Nothing is started before a test asks for it.

- ``db`` and ``django_db`` work as in pytest-django, on a real PostgreSQL of this run.
- ``redis_url``: the Valkey of this run.
- ``stack``: all processes of the platform on this run's database (tests/stack.py). What such a
  test writes is committed, so it works on accounts of its own and takes no ``db``.
- ``account``, ``other_account``: fresh accounts (tests/cast.py), with or without a ``stack``.
- ``token``, ``sandbox_client``: for ``account``, against the ``stack``.
- ``browser``, ``page``: the distribution's Chromium.
- ``async def`` tests just work.
"""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connections
from django.test.utils import setup_databases, teardown_databases
from orkestr import Sandbox
from orkestr._client import OrkestrClient, set_default_client
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.cast import Cast, make_cast
from tests.loops import no_running_loop
from tests.stack import Servers, Stack, use

_EXIT_STATUS = pytest.StashKey[int]()
# The first has no windows to draw, which costs a page a third of the processor.
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_BROWSER_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure() -> None:
    # A run that is asked to end still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))
    # Playwright leaves an event loop in this thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A coroutine whose test ran out of time runs on in its thread; Python would wait for it."""
    status = config.stash.get(_EXIT_STATUS, 0)
    left = [thread for thread in threading.enumerate() if not thread.daemon]
    if status and len(left) > 1:
        sys.stdout.flush()
        os._exit(status)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test so that its ORM calls share this thread and its transaction."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    with no_running_loop():
        async_to_sync(pyfuncitem.obj)(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Like ``tmp_path``, whose parents are closed, but every user may pass through it."""
    with tempfile.TemporaryDirectory(prefix="orkestr-open-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


@pytest.fixture(autouse=True)
def _loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A browser of an earlier test leaves its loop behind; tests without one have none."""
    loop = nullcontext() if "browser" in request.fixturenames else no_running_loop()
    with loop:
        yield
        # Django keeps connections beside a loop apart from others: each goes where it was taken.
        if "stack" in request.fixturenames:
            connections.close_all()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Valkey."""
    servers = Servers()
    try:
        use(servers)
        yield servers
    finally:
        servers.close()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: Servers) -> None:
    """pytest-django's moment for saying where the database is."""


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None,
    django_db_modify_db_settings: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """pytest-django's own makes no database when only tests with a ``stack`` are chosen."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
        _let_flush()
    yield
    with django_db_blocker.unblock():
        # A browser's loop hides the connections that tests without one have left.
        with no_running_loop():
            connections.close_all()
            _end_other_sessions()
        teardown_databases(made, verbosity=0)


def _end_other_sessions() -> None:
    """A thread that outlived its test may have one, and no database is dropped while it is used."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connections.close_all()


def _let_flush() -> None:
    """Django empties all tables after a test with real transactions, which the audit record's
    own trigger refuses; those against changing and deleting entries stay."""
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_auditentry DISABLE TRIGGER audit_no_truncate")


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture(scope="session")
def _stack(
    servers: Servers, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Stack]:
    with django_db_blocker.unblock():
        stack = Stack(servers, database=settings.DATABASES["default"]["NAME"])
        try:
            stack.open()
            yield stack
        finally:
            stack.close()


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, _stack: Stack, django_db_blocker: DjangoDbBlocker
) -> Iterator[Stack]:
    """All of it running, also after a test that killed some of it.

    Tests in a transaction of their own come first and count on an empty database: a test that asks
    for both would have the stack's rows committed among them.
    """
    assert "db" not in request.fixturenames, "Ask for stack or for db."
    with django_db_blocker.unblock():
        _stack.revive()
        yield _stack


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Cast:
    """A fresh account: committed beside a ``stack``, else gone with the test's transaction."""
    return _cast(request)


@pytest.fixture
def other_account(request: pytest.FixtureRequest) -> Cast:
    """Somebody else's."""
    return _cast(request)


def _cast(request: pytest.FixtureRequest) -> Cast:
    request.getfixturevalue("stack" if "stack" in request.fixturenames else "db")
    return make_cast()


@pytest.fixture
def token(account: Cast) -> str:
    """The text of a token with every scope."""
    return account.mint().text


@pytest.fixture
def sandbox_client(stack: Stack, token: str) -> Iterator[OrkestrClient]:
    """The official client; `Sandbox.create()` uses it. Its sandboxes end with the test."""
    client = OrkestrClient(api_key=token, base_url=stack.url)
    set_default_client(client)
    try:
        yield client
        stack.revive()
        for sandbox in Sandbox.list(client=client):
            if sandbox.status in {"running", "starting", "paused"}:
                sandbox.terminate()
    finally:
        set_default_client(None)
        client.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; a machine without one fails here."""
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    assert program, "There is no Chromium here; `make install-tests` installs it."
    expect.set_options(timeout=15_000)  # what must be quicker says so itself
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A page of its own profile; addresses are relative to the stack's."""
    context = browser.new_context(base_url=stack.url)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()
