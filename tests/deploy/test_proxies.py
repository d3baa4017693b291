"""The files for nginx and Caddy, served by nginx and Caddy, in front of the running platform."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from websockets.sync.client import connect
from websockets.typing import Origin

from accounts.models import AuditEntry
from console.launch import environment, parts
from console.launch.layout import checkout
from tests.cast import PASSWORD, Cast
from tests.stack import Stack
from tests.waiting import free_port, until

MIB = 1024 * 1024
DEPLOY = checkout() / "deploy"
#: Of this machine, but not the one that the proxy calls from.
HERE = "127.0.0.2"


@dataclass(frozen=True)
class Site:
    """A web server that is told it is reached by TLS at ``port``, and what a proxy needs."""

    folder: Path
    port: int
    plain_port: int
    upstream: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "site.pem")


@pytest.fixture
def site(stack: Stack, open_path: Path) -> Iterator[Site]:
    """The upstream runs beside the stack's own web server, on the same database."""
    found = Site(open_path, free_port(), free_port(), free_port())
    _certificate(found.folder)
    options = replace(stack.options, port=found.upstream, base_url=found.url)
    secret = {"SECRET_KEY": settings.SECRET_KEY, "TOKEN_PEPPER": settings.TOKEN_PEPPER}
    env = environment.of_services(options, secret=secret)
    part = parts.asgi(options, {**env, "ORKESTR_TRUSTED_PROXIES": "127.0.0.1"}, name="asgi-proxied")
    stack.servers.parts[part.name] = part
    stack.start(part.name)
    try:
        yield found
    finally:
        stack.stop(part.name)
        del stack.servers.parts[part.name]


def _certificate(folder: Path) -> None:
    made = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made += ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "site.key"), "-out", str(folder / "site.pem")]
    subprocess.run([*made, *files], check=True, capture_output=True, timeout=60)


def nginx(site: Site) -> tuple[list[str], Mapping[str, str]]:
    """The file as it is, but for what its head says to change."""
    text = (DEPLOY / "nginx.conf").read_text()
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{site.port} ssl",
        "listen 80;": f"listen 127.0.0.1:{site.plain_port};",
        "/etc/ssl/console.example.org.pem": str(site.folder / "site.pem"),
        "/etc/ssl/console.example.org.key": str(site.folder / "site.key"),
        "127.0.0.1:8000;": f"127.0.0.1:{site.upstream};",
        "https://console.example.org$": f"{site.url}$",
        "console.example.org": "localhost",
    }
    for there, here in changes.items():
        assert there in text, there
        text = text.replace(there, here)
    (site.folder / "site.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {site.folder}/{kind};" for kind in kinds)
    (site.folder / "nginx.conf").write_text(
        f"daemon off; user root; worker_processes 1; pid {site.folder}/nginx.pid;\n"
        f"error_log {site.folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} include {site.folder}/site.conf; }}\n"
    )
    return ["nginx", "-c", str(site.folder / "nginx.conf")], {}


def caddy(site: Site) -> tuple[list[str], Mapping[str, str]]:
    """The file as it is, with its variables."""
    (site.folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\thttp_port {site.plain_port}\n\tskip_install_trust\n}}\n"
        f"import {DEPLOY}/Caddyfile\n"
    )
    variables = {
        "ORKESTR_SITE": site.url,
        "ORKESTR_UPSTREAM": f"127.0.0.1:{site.upstream}",
        "ORKESTR_TLS": f"tls {site.folder}/site.pem {site.folder}/site.key",
        "HOME": str(site.folder),
        "XDG_DATA_HOME": str(site.folder),
        "XDG_CONFIG_HOME": str(site.folder),
    }
    return ["caddy", "run", "--config", str(site.folder / "Caddyfile")], variables


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_the_platform_works_behind_it(
    account: Cast,
    sandbox_client: OrkestrClient,
    token: str,
    site: Site,
    proxy: Callable[[Site], tuple[list[str], Mapping[str, str]]],
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    argv, variables = proxy(site)
    log = site.folder / "proxy.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env={**os.environ, **variables}, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            transport = httpx.HTTPTransport(verify=site.trust, local_address=HERE)
            with httpx.Client(base_url=site.url, transport=transport, timeout=60) as http:
                until(lambda: _answers(http), what=f"it answers: {log.read_text()[-2000:]}")
                _redirects(site)
                _refuses_what_is_not_for_all(http)
                cookie = _signs_in(http, account)
                _streams(http, token, sandbox)
                _is_live(site, cookie, sandbox)
                _takes_large_files(http, site, sandbox, sandbox_client)
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/login/").status_code == 200
    except httpx.TransportError:
        return False


def _redirects(site: Site) -> None:
    answer = httpx.get(f"http://localhost:{site.plain_port}/docs/?x=1", timeout=30)
    assert answer.status_code in (301, 308)
    assert re.sub(r":\d+", "", answer.headers["Location"]) == "https://localhost/docs/?x=1"


def _refuses_what_is_not_for_all(http: httpx.Client) -> None:
    assert http.get("/metrics").status_code == 404
    assert 'name="password"' in http.get("/login/").text
    assert 'name="password"' not in http.get("/login/", headers={"Host": "evil.example"}).text
    page = http.get("/login/")
    assert "max-age=31536000" in page.headers["Strict-Transport-Security"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers.get_list("X-Frame-Options") == ["DENY"]


def _signs_in(http: httpx.Client, account: Cast) -> str:
    """By the form, with the address recorded that the proxy was called from, whatever was said."""
    page = http.get("/login/")
    assert "Secure" in page.headers["Set-Cookie"]
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found
    typed = {"email": account.owner.email, "password": PASSWORD, "csrfmiddlewaretoken": found[1]}
    headers = {"Referer": str(page.url), "X-Forwarded-For": "203.0.113.66"}
    answer = http.post("/login/", data=typed, headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert http.get("/").status_code == 200
    entry = AuditEntry.objects.filter(account=account.account, action="person.signed_in").last()
    assert entry is not None
    assert entry.address == HERE
    return "; ".join(f"{name}={value}" for name, value in http.cookies.items())


def _streams(http: httpx.Client, token: str, sandbox: Sandbox) -> None:
    """The first line is here while the command waits for us."""
    asked = {"command": "echo one; until [ -e go ]; do sleep 0.05; done; echo two", "stream": True}
    path = f"/v1/sandboxes/{sandbox.id}/exec"
    bearer = {"Authorization": f"Bearer {token}"}
    with http.stream("POST", path, json=asked, headers=bearer) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        frames = (json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:"))
        told = (base64.b64decode(frame["data"]) for frame in frames if "data" in frame)
        assert next(told) == b"one\n"
        sandbox.files.write("/workspace/go", "")
        assert next(told) == b"two\n"


def _is_live(site: Site, cookie: str, sandbox: Sandbox) -> None:
    url = f"{site.url}/ws/sandboxes/{sandbox.id}/timeline/".replace("https", "wss", 1)
    headers = {"Cookie": cookie}
    with connect(
        url, ssl=site.trust, additional_headers=headers, origin=Origin(site.url), max_size=None
    ) as socket:
        socket.recv(timeout=30)
        sandbox.exec("echo seen-through-the-proxy")
        until(
            lambda: "seen-through-the-proxy" in str(socket.recv(timeout=30)), what="it is told live"
        )


def _takes_large_files(
    http: httpx.Client, site: Site, sandbox: Sandbox, client: OrkestrClient
) -> None:
    content = os.urandom(MIB) * 50
    up = sandbox.files.presign_upload("/workspace/large", expires_in=300)
    assert http.put(_here(up.url, site), content=content).is_success
    down = sandbox.files.presign_download("/workspace/large", expires_in=300)
    digest = hashlib.sha256(http.get(_here(down.url, site)).content)
    assert digest.digest() == hashlib.sha256(content).digest()


def _here(url: str, site: Site) -> str:
    return re.sub(r"^https?://[^/]+", site.url, url)
