"""The second stage of `make up`: root, in the virtual environment; prepare, start, watch, stop."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from console.launch import checks, environment, leftovers, parts, servers
from console.launch.detach import Detached
from console.launch.layout import SERVICE_USER, Layout, Options
from console.launch.processes import Records, identify
from console.launch.say import Problem, line, step, tail
from console.launch.stopping import Interrupted, Stopping
from console.launch.supervisor import Supervisor, as_service, open_log


def run(options: Options, *, detach: bool) -> int:
    """In the foreground until Ctrl-C; with ``detach`` until ready, and then in the background."""
    checks.root()
    os.umask(0o022)
    layout = options.layout
    service_user()
    servers.make_folders(layout)
    detached = Detached() if detach else None
    if detached is not None and detached.is_parent:
        return detached.wait()
    stopping = Stopping()
    stopping.listen()
    supervisor = Supervisor(layout, stopping=stopping)
    with _only_one(layout):
        try:
            _bring_up(options, supervisor)
            _announce(options, detach=detach)
            if detached is not None:
                detached.is_ready(log=supervisor.log_of("supervisor"))
            supervisor.watch()
        except Interrupted:
            pass
        finally:
            _take_down(supervisor)
    return 0


def _bring_up(options: Options, supervisor: Supervisor) -> None:
    layout = options.layout
    for port in range(options.port, options.port + options.servers):
        checks.port(options.host, port)
    secret = environment.instance_secrets(layout)
    env = environment.of_services(options, secret=secret)
    _build_templates(options, supervisor.stopping)
    _fetch_tools(options, supervisor.stopping)
    with step("PostgreSQL and Valkey"):
        _start_servers(options, supervisor, env=env)
    with step("database, static files, first account"):
        _prepare(options, supervisor.stopping, env=env)
    with step("sandbox host, workers, web server"):
        supervisor.start(*parts.all_parts(options, secret=secret))


def _start_servers(options: Options, supervisor: Supervisor, *, env: dict[str, str]) -> None:
    layout = options.layout
    if options.is_postgres_embedded:
        servers.prepare_postgres(layout)
        supervisor.start(parts.postgres(layout, env))
        servers.create_database(layout, name="orkestr")
    elif not servers.is_postgres_ready(options.database_url):
        raise _unreachable("DATABASE_URL", "PostgreSQL")
    if options.is_valkey_embedded:
        supervisor.start(parts.valkey(layout, env))
    elif not servers.is_redis_ready(options.redis_url):
        raise _unreachable("REDIS_URL", "Valkey or Redis")


def _unreachable(variable: str, what: str) -> Problem:
    return Problem(
        f"No {what} answers at the address in {variable}.",
        advice=f"Start that server or mend {variable}; without {variable} an embedded one is used.",
    )


def _build_templates(options: Options, stopping: Stopping) -> None:
    slow = "" if options.layout.templates.is_dir() else "the first time takes a few minutes"
    with step("templates", slow=slow):
        argv = [str(options.layout.venv_python), "-m", "sandboxes.host.images", "build"]
        env = environment.of_host(options)
        run_step(options.layout, stopping, argv, env=env, name="templates")


def _fetch_tools(options: Options, stopping: Stopping) -> None:
    """What cannot be had is said, and the instance works without it."""
    with step("runtimes of later releases"):
        argv = [str(options.layout.venv_python), "-m", "sandboxes.host.tools", "fetch"]
        env = environment.of_host(options)
        told = run_step(options.layout, stopping, argv, env=env, name="tools")
    for missing in (row for row in told.splitlines() if "cannot be had" in row):
        line(f"  ! {missing}")


def _prepare(options: Options, stopping: Stopping, *, env: dict[str, str]) -> None:
    layout = options.layout
    known = environment.read_env(layout.dev_env)
    # Without dev.env nobody here knows the first token, if there is one already.
    lost = [] if "ORKESTR_API_KEY" in known else ["lost"]
    argv = [str(layout.venv_python), "-m", "console.launch.prepare", "make up", *lost]
    output = run_step(layout, stopping, as_service(layout, argv), env=env, name="prepare")
    made = json.loads(output.splitlines()[-1])
    names = {"email": "CONSOLE_USER", "password": "CONSOLE_PASSWORD", "token": "ORKESTR_API_KEY"}
    fresh = {variable: made[key] for key, variable in names.items() if key in made}
    values = {**known, **fresh, "ORKESTR_BASE_URL": options.base_url}
    environment.write_env(layout.dev_env, values, export=True)


def run_step(
    layout: Layout,
    stopping: Stopping,
    argv: Sequence[str],
    *,
    env: dict[str, str],
    name: str,
) -> str:
    """Runs to its end and returns what it printed; stderr goes to its log. Raises ``Problem``."""
    log = layout.logs / f"{name}.log"
    answer = layout.scratch / f"{name}.out"
    with open_log(log) as errors, answer.open("wb") as output:
        process = subprocess.Popen(
            argv, env=env, cwd=layout.root, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        try:
            stopping.until(lambda: process.poll() is not None, seconds=3600)
        finally:
            process.terminate()
            code = process.wait()
    text = answer.read_text(errors="replace")
    answer.unlink()
    if code != 0:
        advice = f"Mend what it says and run `make up` again. Its whole log: {log}"
        raise Problem(f"{name} failed:\n{tail(log)}", advice=advice)
    return text


@contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    """One supervisor a data folder, and what an earlier one left is ended first."""
    records = Records(layout.pids)
    with (layout.pids / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(
                "Another `make up` with this data folder runs or is starting.",
                advice="See `make status`; stop it with `make down`.",
            ) from None
        leftovers.stop(layout)
        if me := identify(os.getpid()):
            records.save(leftovers.SUPERVISOR, me)
        try:
            yield
        finally:
            records.forget(leftovers.SUPERVISOR)


def _take_down(supervisor: Supervisor) -> None:
    if supervisor.running:
        with step("stopped"):
            supervisor.stop_all()
    shutil.rmtree(supervisor.layout.run, ignore_errors=True)


def service_user() -> None:
    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home"]
        command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SERVICE_USER]
        with step(f"user {SERVICE_USER}"):
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise Problem(
                f"The user {SERVICE_USER} could not be made: {answer.stderr.strip()}",
                advice=f"Make it by hand: {' '.join(command)}",
            ) from None


def _is_inside(options: Options) -> bool:
    return options.layout.data.is_relative_to(options.layout.root)


def _announce(options: Options, *, detach: bool) -> None:
    known = environment.read_env(options.layout.dev_env)
    path = options.layout.dev_env
    dev_env = path.relative_to(options.layout.root) if _is_inside(options) else path
    stop = "`make down`" if detach else "Ctrl-C"
    line(f"""
  Ready. {stop} stops it.

    Console    {options.base_url}
    Sign-in    {known.get("CONSOLE_USER", "as you set it")}
    Password   {known.get("CONSOLE_PASSWORD", "as you set it")}
    Token      {known.get("ORKESTR_API_KEY", "mint one on the Tokens page")}

    source {dev_env}   puts them into a shell
    make demo             runs an agent-like session to watch
""")
