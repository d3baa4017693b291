"""What whole files by signed links cost, beside the same server sending a static file."""

from __future__ import annotations

import http.client
import statistics
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
from orkestr import Sandbox

from tests.bench.memory import MIB, watched
from tests.bench.platform import Bench
from tests.bench.report import Row
from tests.bench.speed import timed

NAME = "bench.bin"


def fetch(url: str) -> int:
    """Reads an answer as cheaply as Python can, and throws it away; how many bytes it had."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read(300)
        buffer, total = bytearray(MIB), 0
        while count := answer.readinto(buffer):
            total += count
        return total
    finally:
        connection.close()


def pieces(size: int) -> Iterator[bytes]:
    piece = bytes(range(256)) * (MIB // 256)
    for _ in range(size // MIB):
        yield piece


def download(bench: Bench) -> list[Row]:
    """One file by a signed link and as a static file, in turn, all of it in the page cache."""
    size = bench.many(1000) * MIB
    static = bench.stack.layout.static / NAME
    static.write_bytes(b"")
    with static.open("wb") as file:
        file.writelines(pieces(size))
    static.chmod(0o644)
    bench.stack.restart("asgi")  # it looks at its static files when it starts
    ours, theirs = [], []
    try:
        with Sandbox.create(template="debian-12", size="medium") as sandbox:
            _fill(sandbox, size)
            url = sandbox.files.presign_download(f"/workspace/{NAME}").url
            plain = f"{bench.stack.url}/static/{NAME}"
            assert fetch(url) == fetch(plain) == size
            for _ in range(bench.many(5)):
                ours.append(timed(lambda: fetch(url)))
                theirs.append(timed(lambda: fetch(plain)))
    finally:
        static.unlink()
    speed, other = (size / MIB / statistics.median(each) for each in (ours, theirs))
    return [
        Row(
            what=f"{size / MIB / 1000:.1g} GB download by presigned URL",
            measured=f"{speed:.0f} MiB/s",
            against=f"the ASGI server sending a static file: {other:.0f} MiB/s "
            f"(ratio {speed / other:.2f})",
            target="≥ 0.5 × throughput",
            met=speed >= 0.5 * other,
        )
    ]


def _fill(sandbox: Sandbox, size: int) -> None:
    url = sandbox.files.presign_upload(f"/workspace/{NAME}").url
    headers = {"Content-Length": str(size)}
    answer = httpx.put(url, content=pieces(size), headers=headers, timeout=600)
    assert answer.json()["bytes_written"] == size, answer.text


def memory(bench: Bench) -> list[Row]:
    """A large file up and down again."""
    size = bench.many(2048) * MIB
    with Sandbox.create(template="debian-12", size="medium") as sandbox:
        url = sandbox.files.presign_download(f"/workspace/{NAME}").url
        with watched(bench, "host", "asgi") as growth:
            _fill(sandbox, size)
            assert fetch(url) == size
    worst = max(growth.of(part) for part in growth.parts)
    return [
        Row(
            what=f"{size / MIB / 1024:.1g} GB up and down by presigned URL",
            measured=str(growth),
            against="-",
            target="no process grows by more than 32 MB",
            met=worst < 32e6,
        )
    ]


MEASUREMENTS = {"download": download, "transfer-memory": memory}
