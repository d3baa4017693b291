"""Web servers of a test's own internet, with a certificate authority of their own."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.sandboxes.host.egress.world import WAIT

NAMES = ("www.example.org", "git.example.org")


@dataclass
class Site:
    """Serves the files of ``folder`` over TLS. ``visits`` holds the paths that were asked for."""

    folder: Path
    visits: list[str] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
        path = head.split()[1].decode().partition("?")[0]
        self.visits.append(path)
        file = self.folder / path.strip("/")
        found = file.is_file()
        body = file.read_bytes() if found else b"nothing here\n"
        status = "200 OK" if found else "404 Not Found"
        lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", "", "")
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        writer.close()


def authority(folder: Path) -> tuple[bytes, ssl.SSLContext]:
    """The authority's certificate, and a server's context with one that it signed."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ",".join(f"DNS:{name}" for name in NAMES)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=tests"),
            *("-addext", f"subjectAltName={names}"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
        ],
        check=True,
        capture_output=True,
        timeout=WAIT,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate.read_bytes(), context


def repository(folder: Path) -> None:
    """A bare repository with one commit, as plain files that ``git clone`` can fetch."""
    work, bare = folder / "work", folder / "project.git"
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    for command in (
        ("git", "init", "-q", "-b", "main", str(work)),
        ("sh", "-c", f"echo hello from the repository > {work}/README"),
        ("git", "-C", str(work), "add", "README"),
        ("git", *identity, "-C", str(work), "commit", "-q", "-m", "First"),
        ("git", "clone", "-q", "--bare", str(work), str(bare)),
        ("git", "-C", str(bare), "update-server-info"),
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=WAIT)
