"""Signed links: made by the official client, used by a plain HTTP client without a token."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from django.test import override_settings
from orkestr import PlanLimitError, Sandbox
from orkestr._client import OrkestrClient

from accounts.services import token_revoke
from sandboxes.presign import Link, Method
from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until
from timeline.events import Event, Kind
from timeline.selectors import events_after

MIB = 1024 * 1024
PLACE = "/workspace/file"


@pytest.fixture
def plain() -> Iterator[httpx.Client]:
    """No token, no base, no cookie."""
    with httpx.Client(timeout=60) as client:
        yield client


def events(sandbox: Sandbox, kind: Kind) -> list[Event]:
    return events_after(sandbox_id=sandbox.id, after=0, kinds=[kind.value], limit=100)


def refused(answer: httpx.Response, status: int = 403) -> str:
    """With a sentence, which is returned."""
    assert answer.status_code == status, answer.text[:300]
    detail = str(answer.json()["detail"])
    assert detail.endswith(".")
    assert answer.headers["x-request-id"]
    return detail


# ---- what they do ------------------------------------------------------------------------------


def test_a_file_goes_up_and_comes_down_again(sandbox: Sandbox, plain: httpx.Client) -> None:
    content = bytes(range(256)) * 10_000
    up = sandbox.files.presign_upload(PLACE, expires_in=300)
    assert (up.method, up.path) == ("PUT", PLACE)
    left = up.expires_at - datetime.now(UTC)
    assert timedelta(seconds=240) < left <= timedelta(seconds=300)
    answer = plain.put(up.url, content=content)
    assert (answer.status_code, answer.json()) == (
        200,
        {"path": PLACE, "bytes_written": len(content)},
    )
    down = sandbox.files.presign_download(PLACE)
    assert down.method == "GET"
    for _ in range(2):
        answer = plain.get(down.url)
        assert answer.content == content
        assert answer.headers["Content-Length"] == str(len(content))
    stat = sandbox.files.stat(PLACE)
    assert (stat.size, stat.mode) == (len(content), 0o644)


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1])
def test_any_size_is_kept(sandbox: Sandbox, plain: httpx.Client, size: int) -> None:
    content = b"x" * size
    assert plain.put(sandbox.files.presign_upload(PLACE).url, content=content).is_success
    assert plain.get(sandbox.files.presign_download(PLACE).url).content == content


@pytest.mark.parametrize("name", ["a b", "ü/ž.txt", "100%25", "q\"u\\o'te", "new\nline", "a?b#c&d"])
def test_any_name_is_kept(sandbox: Sandbox, plain: httpx.Client, name: str) -> None:
    path = f"/workspace/{name}"
    assert plain.put(sandbox.files.presign_upload(path).url, content=b"named").is_success
    assert sandbox.files.read(path) == "named"
    answer = plain.get(sandbox.files.presign_download(path).url)
    assert answer.content == b"named"
    last = quote(name.rsplit("/", 1)[-1], safe="")
    assert answer.headers["Content-Disposition"].endswith(f"filename*=UTF-8''{last}")


def test_what_a_sandbox_made_is_never_shown_as_a_page(
    sandbox: Sandbox, plain: httpx.Client
) -> None:
    sandbox.files.write("/workspace/page.html", "<script>alert(1)</script>")
    headers = plain.get(sandbox.files.presign_download("/workspace/page.html").url).headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith('attachment; filename="page.html"')
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    assert "no-store" in headers["Cache-Control"]


def test_head_tells_without_reading(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "12345")
    answer = plain.head(sandbox.files.presign_download(PLACE).url)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "5", b"")


WHOLE = (200, b"0123456789", None)
PARTS: dict[str, tuple[int, bytes | None, str | None]] = {
    "bytes=0-3": (206, b"0123", "bytes 0-3/10"),
    "bytes=7-": (206, b"789", "bytes 7-9/10"),
    "bytes=-2": (206, b"89", "bytes 8-9/10"),
    "bytes=4-4": (206, b"4", "bytes 4-4/10"),
    "bytes=8-99": (206, b"89", "bytes 8-9/10"),
    "bytes=0-": WHOLE,
    "bytes=1-2,4-5": WHOLE,
    "bytes=5-2": WHOLE,
    "lines=1-2": WHOLE,
    "bytes=-": WHOLE,
    "bytes=10-": (416, None, "bytes */10"),
    "bytes=-0": (416, None, "bytes */10"),
}


def test_a_part_can_be_asked_for(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "0123456789")
    url = sandbox.files.presign_download(PLACE).url
    for asked, (status, got, told) in PARTS.items():
        answer = plain.get(url, headers={"Range": asked})
        found = (answer.status_code, answer.headers.get("Content-Range"))
        assert found == (status, told), asked
        assert got is None or answer.content == got, asked
        assert plain.head(url, headers={"Range": asked}).status_code == status, asked


def test_a_part_of_what_has_changed_is_the_whole(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "0123456789")
    url = sandbox.files.presign_download(PLACE).url
    tag = plain.head(url).headers["ETag"]
    part = {"Range": "bytes=5-", "If-Range": tag}
    assert plain.get(url, headers=part).content == b"56789"
    sandbox.files.write(PLACE, "abcdefghij")
    assert plain.get(url, headers=part).content == b"abcdefghij"


def test_the_timeline_names_the_token_that_signed(
    account: Cast, stack: Stack, sandbox: Sandbox, plain: httpx.Client
) -> None:
    other = account.mint(name="hands out links")
    with OrkestrClient(api_key=other.text, base_url=stack.url) as client:
        files = Sandbox.get(sandbox.id, client=client).files
        plain.put(files.presign_upload(PLACE).url, content=b"12345")
        plain.get(files.presign_download(PLACE).url)
    for kind in (Kind.FILE_WRITTEN, Kind.FILE_READ):
        until(lambda kind=kind: bool(events(sandbox, kind)), what=f"{kind} is stored")  # type: ignore[misc]
        (event,) = events(sandbox, kind)
        assert (event.data["path"], event.data["size"]) == (PLACE, 5)
        assert (event.actor.type, event.actor.name) == ("token", "hands out links")


# ---- what is refused ---------------------------------------------------------------------------


def test_a_link_is_good_for_its_method_only(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "kept")
    up, down = sandbox.files.presign_upload(PLACE), sandbox.files.presign_download(PLACE)
    refused(plain.get(up.url))
    refused(plain.put(down.url, content=b"changed"))
    assert plain.head(up.url).status_code == 403
    refused(plain.post(up.url), 405)
    refused(plain.delete(down.url), 405)
    assert sandbox.files.read(PLACE) == "kept"


def test_a_changed_link_is_refused(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "kept")
    sandbox.files.write("/workspace/other", "secret")
    url = httpx.URL(sandbox.files.presign_download(PLACE).url)
    query = dict(url.params)
    later = str(int(query["expires"]) + 1)
    forged = [
        url.copy_with(path=url.path.replace("/workspace/file", "/workspace/other")),
        url.copy_with(path=url.path.replace("/workspace/file", "/etc/passwd")),
        url.copy_with(path=url.path.replace(sandbox.id, "sbx_" + "0" * 26)),
        url.copy_with(path="/files/" + sandbox.id),
        url.copy_with(path="/files/"),
        url.copy_merge_params({"expires": later}),
        url.copy_merge_params({"expires": "9" * 30}),
        url.copy_merge_params({"expires": "-1"}),
        url.copy_merge_params({"by": "tok_" + "0" * 26}),
        url.copy_merge_params({"signature": "A" * 43}),
        url.copy_merge_params({"signature": ""}),
        url.copy_merge_params({"signature": "ü"}),
        url.copy_with(query=b""),
        url.copy_with(query=b"%ff=%ff&signature"),
    ]
    for each in forged:
        assert "unchanged" in refused(plain.get(each))
    assert plain.get(str(url).replace("/workspace/", "/%2577orkspace/")).status_code == 403
    assert plain.get(str(url).replace("/workspace/file", "/workspace/%ff")).status_code == 403
    assert plain.get(url).text == "kept"


def test_a_link_of_another_key_is_refused(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "kept")
    good = httpx.URL(sandbox.files.presign_download(PLACE).url)
    link = Link("GET", sandbox.id, PLACE, int(good.params["expires"]), good.params["by"])
    assert link.signature() == good.params["signature"]
    with override_settings(SECRET_KEY="of another installation"):
        signature = link.signature()
    refused(plain.get(good.copy_merge_params({"signature": signature})))


def test_an_expired_link_is_refused(stack: Stack, sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "kept")
    good = httpx.URL(sandbox.files.presign_download(PLACE).url)
    methods: tuple[Method, Method] = ("GET", "PUT")
    for method in methods:
        link = Link(method, sandbox.id, PLACE, int(time.time()) - 1, good.params["by"])
        url = stack.url + httpx.URL(link.url).raw_path.decode()
        assert "expired" in refused(plain.request(method, url))


def test_revoking_a_token_ends_its_links(
    account: Cast, stack: Stack, sandbox: Sandbox, plain: httpx.Client
) -> None:
    minted = account.mint()
    with OrkestrClient(api_key=minted.text, base_url=stack.url) as client:
        link = Sandbox.get(sandbox.id, client=client).files.presign_upload(PLACE)
    assert plain.put(link.url, content=b"x").is_success
    token_revoke(principal=account.principal(), token_id=minted.token.id)
    assert "revoked" in refused(plain.put(link.url, content=b"y"))
    assert sandbox.files.read(PLACE) == "x"


def test_a_sandbox_that_has_ended_says_so(sandbox: Sandbox, plain: httpx.Client) -> None:
    up, down = sandbox.files.presign_upload(PLACE), sandbox.files.presign_download(PLACE)
    sandbox.terminate()
    assert "terminated" in refused(plain.get(down.url), 409)
    assert "terminated" in refused(plain.put(up.url, content=b"x" * MIB), 409)


def test_a_paused_sandbox_says_so_and_is_not_woken(sandbox: Sandbox, plain: httpx.Client) -> None:
    up, down = sandbox.files.presign_upload(PLACE), sandbox.files.presign_download(PLACE)
    sandbox.pause()
    assert "paused" in refused(plain.get(down.url), 409)
    assert "paused" in refused(plain.put(up.url, content=b"x"), 409)
    assert sandbox.refresh().status == "paused"


def test_a_link_wakes_a_sandbox_that_may_wake_by_itself(
    sandbox_client: OrkestrClient, plain: httpx.Client
) -> None:
    made = Sandbox.create(template="debian-12", auto_resume=True, client=sandbox_client)
    up, down = made.files.presign_upload(PLACE), made.files.presign_download(PLACE)
    made.pause()
    assert plain.put(up.url, content=b"woken").is_success
    assert made.refresh().status == "running"
    made.pause()
    assert plain.get(down.url).content == b"woken"


def test_what_is_no_file_is_told(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.exec("mkfifo pipe; ln -s /dev/zero zero; mkdir folder; ln -s / root")
    cases = {"absent": 404, "pipe": 422, "zero": 422, "folder": 422, "root": 422}
    for name, status in cases.items():
        refused(plain.get(sandbox.files.presign_download(f"/workspace/{name}").url), status)
    for path, status in {"/etc/passwd": 403, "/workspace/root/etc/x": 403}.items():
        refused(plain.put(sandbox.files.presign_upload(path).url, content=b"x"), status)
    for name in ("pipe", "folder"):
        url = sandbox.files.presign_upload(f"/workspace/{name}").url
        refused(plain.put(url, content=b"x"), 422)


def test_the_size_has_to_be_said(sandbox: Sandbox, plain: httpx.Client) -> None:
    url = sandbox.files.presign_upload(PLACE).url
    assert "Content-Length" in refused(plain.put(url, content=iter([b"x"] * 3)), 411)
    assert not sandbox.files.exists(PLACE)


@pytest.mark.parametrize("path", ["relative", "/a//b", "/a/./b", "/a/../b", "/a/", "/", "/\0", ""])
def test_a_path_that_an_address_would_not_keep_is_refused(
    http: httpx.Client, sandbox: Sandbox, path: str
) -> None:
    for verb in ("download", "upload"):
        address = f"/v1/sandboxes/{sandbox.id}/files/presign-{verb}"
        refused(http.post(address, json={"path": path}), 422)


@pytest.mark.parametrize("seconds", [59, 3601, 0, -1, "600", 60.5, None])
def test_a_link_lasts_a_minute_to_an_hour(
    http: httpx.Client, sandbox: Sandbox, seconds: object
) -> None:
    body = {"path": PLACE, "expires_in": seconds}
    refused(http.post(f"/v1/sandboxes/{sandbox.id}/files/presign-download", json=body), 422)


def open_paths(pid: int) -> set[str]:
    """What a process has open, deleted files among them."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


# ---- what they cost ----------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_nothing(sandbox: Sandbox, plain: httpx.Client) -> None:
    free = sandbox.exec("df --output=avail -B1 /workspace | tail -1").stdout
    size = int(free) + 64 * MIB
    pieces = (b"x" * MIB for _ in range(size // MIB))
    headers = {"Content-Length": str(size // MIB * MIB)}
    answer = plain.put(sandbox.files.presign_upload(PLACE).url, content=pieces, headers=headers)
    refused(answer, 422)
    assert answer.json()["code"] == "no_space"
    assert sandbox.exec("ls -A /workspace").stdout == ""


def test_an_upload_that_breaks_off_leaves_nothing(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.files.write(PLACE, "as it was")

    def broken() -> Iterator[bytes]:
        yield b"x" * MIB
        until(lambda: "ork-" in sandbox.exec("ls -A").stdout, what="it is being written")
        raise ConnectionAbortedError

    url = sandbox.files.presign_upload(PLACE).url
    with pytest.raises(ConnectionAbortedError):
        plain.put(url, content=broken(), headers={"Content-Length": str(2 * MIB)})
    until(lambda: sandbox.exec("ls -A").stdout == "file\n", what="nothing of it is left")
    assert sandbox.files.read(PLACE) == "as it was"


def test_a_file_cut_short_on_its_way_does_not_look_whole(
    sandbox: Sandbox, plain: httpx.Client
) -> None:
    sandbox.exec("truncate -s 500M file")
    url = sandbox.files.presign_download(PLACE).url
    with plain.stream("GET", url) as answer, pytest.raises(httpx.TransportError):
        parts = answer.iter_raw()
        next(parts)
        sandbox.exec("truncate -s 1M file")
        for _ in parts:
            pass


def test_transfers_keep_no_other_operation_waiting(sandbox: Sandbox, plain: httpx.Client) -> None:
    sandbox.exec("truncate -s 500M file")
    url = sandbox.files.presign_download(PLACE).url
    held = [plain.build_request("GET", url) for _ in range(16)]
    answers = [plain.send(each, stream=True) for each in held]
    try:
        assert {answer.status_code for answer in answers} == {200}
        assert sandbox.exec("echo alive").stdout == "alive\n"
        assert sandbox.files.list("/workspace")
        over = plain.get(url)
        assert "transfers" in refused(over, 429)
        assert over.headers["Retry-After"]
    finally:
        for answer in answers:
            answer.close()
    until(lambda: plain.get(url, headers={"Range": "bytes=0-1"}).status_code == 206)


def test_200_megabytes_pass_through_little_memory(
    stack: Stack, sandbox: Sandbox, plain: httpx.Client
) -> None:
    pieces, piece = 200, bytes(range(256)) * 4096
    parts = ("host", "asgi")
    before = {part: stack.memory(part) for part in parts}
    most = dict(before)
    kept: set[str] = set()

    def look() -> None:
        for part in parts:
            most[part] = max(most[part], stack.memory(part))
            kept.update(path for path in open_paths(stack.pid(part)) if "(deleted)" in path)

    def content() -> Iterator[bytes]:
        for number in range(pieces):
            if number % 20 == 0:
                look()
            yield piece

    headers = {"Content-Length": str(pieces * len(piece))}
    url = sandbox.files.presign_upload(PLACE).url
    assert plain.put(url, content=content(), headers=headers).is_success
    wanted, got, seen = hashlib.sha256(), hashlib.sha256(), 0
    for _ in range(pieces):
        wanted.update(piece)
    with plain.stream("GET", sandbox.files.presign_download(PLACE).url) as answer:
        for number, part in enumerate(answer.iter_raw(MIB)):
            got.update(part)
            seen += len(part)
            if number % 20 == 0:
                look()
    assert (seen, got.digest()) == (pieces * len(piece), wanted.digest())
    grown = {part: (most[part] - before[part]) / MIB for part in parts}
    assert max(grown.values()) < 32, grown
    assert not kept, "it went through a file"


def test_reading_asks_for_reading_and_writing_for_writing(
    account: Cast, stack: Stack, sandbox: Sandbox
) -> None:
    reading = account.mint(scopes=["sandboxes:read"]).text
    with OrkestrClient(api_key=reading, base_url=stack.url) as client:
        files = Sandbox.get(sandbox.id, client=client).files
        assert files.presign_download(PLACE).url
        with pytest.raises(Exception, match="sandboxes:write") as caught:
            files.presign_upload(PLACE)
    assert not isinstance(caught.value, PlanLimitError)
