"""…/files: write, read, list, delete, mkdir, move, stat, batch."""

from __future__ import annotations

import base64
import os

import httpx
import pytest
from orkestr import AuthError, OrkestrError, Sandbox, SandboxNotFound

from sandboxes.api.schemas import BatchOut, FileOut, StatOut, WrittenOut

SIXTEEN = 16 * 1024 * 1024


def test_bytes_come_back_as_they_were(sandbox: Sandbox) -> None:
    content = os.urandom(100_000)
    sandbox.files.write_bytes("/workspace/deep/er/random", content, mode=0o600)
    assert sandbox.files.read_bytes("/workspace/deep/er/random") == content
    assert sandbox.exec("stat -c %a deep/er/random").stdout == "600\n"


def test_text_and_odd_names_survive(sandbox: Sandbox) -> None:
    path = "/tmp/ä b'\"\\$(x)\n&?#%00.txt"
    sandbox.files.write(path, "grüße\n")
    assert sandbox.files.read(path) == "grüße\n"
    assert "ä b'\"\\$(x)\n&?#%00.txt" in [entry.name for entry in sandbox.files.list("/tmp")]
    sandbox.files.delete(path)
    assert not sandbox.files.exists(path)


def test_a_command_sees_what_was_written_and_the_other_way_round(sandbox: Sandbox) -> None:
    sandbox.files.write("/workspace/in.csv", "a,b\n1,2\n")
    sandbox.exec("tr a-z A-Z < in.csv > out.csv")
    assert sandbox.files.read("/workspace/out.csv") == "A,B\n1,2\n"


def test_a_directory_lists_what_is_in_it(sandbox: Sandbox) -> None:
    sandbox.files.mkdir("/workspace/d/sub")
    sandbox.files.write("/workspace/d/file", "12345", mode=0o640)
    entries = {entry.name: entry for entry in sandbox.files.list("/workspace/d")}
    assert entries.keys() == {"sub", "file"}
    assert entries["sub"].is_dir
    assert (entries["file"].size, entries["file"].mode & 0o777) == (5, 0o640)
    assert entries["file"].modified_at.tzinfo is not None


def test_a_file_moves_with_what_is_in_it(sandbox: Sandbox) -> None:
    sandbox.files.write("/workspace/a", "content")
    sandbox.files.move("/workspace/a", "/workspace/b")
    assert not sandbox.files.exists("/workspace/a")
    assert sandbox.files.read("/workspace/b") == "content"


def test_what_is_not_there_is_an_answer_of_stat(sandbox: Sandbox) -> None:
    stat = sandbox.files.stat("/workspace/none")
    assert (stat.exists, stat.mode, stat.modified_at) == (False, None, None)
    assert sandbox.files.stat("/workspace").is_dir


def test_what_is_not_there_is_not_found_by_the_others(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxNotFound, match="none"):
        sandbox.files.read("/workspace/none")
    with pytest.raises(SandboxNotFound):
        sandbox.files.delete("/workspace/none")
    with pytest.raises(SandboxNotFound):
        sandbox.files.move("/workspace/none", "/workspace/b")


def test_a_directory_is_not_deleted(sandbox: Sandbox) -> None:
    sandbox.files.mkdir("/workspace/d")
    with pytest.raises(OrkestrError) as caught:
        sandbox.files.delete("/workspace/d")
    assert caught.value.status_code == 422
    assert sandbox.files.exists("/workspace/d")


@pytest.mark.parametrize("path", ["/etc/passwd", "/root/x", "/usr/bin/true", "/", "/proc/1/mem"])
def test_only_the_writable_places_are_written(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(AuthError, match="/workspace") as caught:
        sandbox.files.write(path, "x")
    assert caught.value.status_code == 403
    with pytest.raises(AuthError):
        sandbox.files.mkdir("/etc/d")


def test_no_way_leads_out_of_the_writable_places(sandbox: Sandbox) -> None:
    sandbox.exec("ln -s /etc etc; ln -s / root; ln -s /etc/passwd passwd")
    for path in (
        "/workspace/../etc/x",
        "/workspace/etc/x",
        "/workspace/root/etc/x",
        "/workspace/passwd",
    ):
        with pytest.raises(OrkestrError) as caught:
            sandbox.files.write(path, "gotcha")
        assert caught.value.status_code in {403, 422}
    assert "gotcha" not in sandbox.exec("cat /etc/passwd /etc/x 2>/dev/null").stdout


def test_what_is_no_file_neither_hangs_nor_harms(sandbox: Sandbox) -> None:
    sandbox.exec("mkfifo fifo; ln -s /dev/zero zero; ln -s loop loop")
    for name in ("fifo", "zero", "loop"):
        with pytest.raises(OrkestrError) as caught:
            sandbox.files.read(f"/workspace/{name}")
        assert 400 <= (caught.value.status_code or 0) < 500
        with pytest.raises(OrkestrError) as caught:
            sandbox.files.write(f"/workspace/{name}", "x")
        assert 400 <= (caught.value.status_code or 0) < 500
    assert sandbox.exec("echo alive").stdout == "alive\n"


def test_sixteen_mebibytes_are_fine_and_more_are_not(http: httpx.Client, sandbox: Sandbox) -> None:
    content = b"x" * SIXTEEN
    sandbox.files.write_bytes("/workspace/big", content)
    assert sandbox.files.read_bytes("/workspace/big") == content
    with pytest.raises(OrkestrError) as caught:
        sandbox.files.write_bytes("/workspace/bigger", content + b"x")
    assert caught.value.status_code == 413
    sandbox.exec("head -c 17000000 /dev/zero > made")
    with pytest.raises(OrkestrError) as caught:
        sandbox.files.read_bytes("/workspace/made")
    assert caught.value.status_code == 413


def test_a_full_disk_is_told(sandbox: Sandbox) -> None:
    sandbox.exec("head -c 10G /dev/zero > filler", timeout_seconds=120)
    with pytest.raises(OrkestrError) as caught:
        sandbox.files.write_bytes("/workspace/more", b"x" * SIXTEEN)
    assert 400 <= (caught.value.status_code or 0) < 500
    sandbox.exec("rm filler")
    sandbox.files.write("/workspace/more", "x")


def test_a_batch_does_what_it_can(sandbox: Sandbox) -> None:
    rows = sandbox.files.write_batch(
        [
            ("/workspace/a", "1"),
            ("/etc/b", "2"),
            ("relative", "3"),
            ("/workspace/sub/d", b"\x00\xff"),
        ]
    )
    assert [row.error for row in rows] == [None, "not_permitted", "invalid", None]
    assert [row.bytes_written for row in rows] == [1, None, None, 2]
    assert sandbox.files.read_bytes("/workspace/sub/d") == b"\x00\xff"


def test_the_answers_are_what_their_descriptions_say(http: httpx.Client, sandbox: Sandbox) -> None:
    base = f"/v1/sandboxes/{sandbox.id}/files"
    content = base64.b64encode(b"abc").decode()
    written = http.post(base, json={"path": "/workspace/f", "content": content})
    assert WrittenOut.model_validate(written.json()).bytes_written == 3
    read = FileOut.model_validate(http.get(base, params={"path": "/workspace/f"}).json())
    assert (read.content, read.size, read.is_dir) == (content, 3, False)
    listed = FileOut.model_validate(http.get(base, params={"path": "/workspace"}).json())
    assert listed.entries is not None
    assert [entry.name for entry in listed.entries] == ["f"]
    stat = http.get(f"{base}/stat", params={"path": "/workspace/f"})
    assert StatOut.model_validate(stat.json()).size == 3
    made = http.post(f"{base}/mkdir", json={"path": "/workspace/d"})
    assert (made.status_code, made.json()) == (201, {"path": "/workspace/d"})
    moved = http.post(
        f"{base}/move", json={"source": "/workspace/f", "destination": "/workspace/g"}
    )
    assert moved.status_code == 200
    batch = http.post(f"{base}/batch", json={"files": [{"path": "/tmp/a", "content": content}]})
    BatchOut.model_validate(batch.json())
    gone = http.delete(base, params={"path": "/workspace/g"})
    assert (gone.status_code, gone.content) == (204, b"")


@pytest.mark.parametrize(
    "path", ["", "relative", "/workspace/a\x00b", "/workspace/" + "n" * 4096, "/n" * 2100]
)
def test_a_path_that_cannot_be_one_is_refused_everywhere(
    http: httpx.Client, sandbox: Sandbox, path: str
) -> None:
    base = f"/v1/sandboxes/{sandbox.id}/files"
    answers = [
        http.get(base, params={"path": path}),
        http.delete(base, params={"path": path}),
        http.get(f"{base}/stat", params={"path": path}),
        http.post(base, json={"path": path, "content": ""}),
        http.post(f"{base}/mkdir", json={"path": path}),
        http.post(f"{base}/move", json={"source": path, "destination": "/tmp/b"}),
        http.post(f"{base}/move", json={"source": "/tmp/b", "destination": path}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 7


@pytest.mark.parametrize("content", ["not base64!", "YQ", "YQ==\n", 5, None, ["YQ=="]])
def test_content_that_is_no_base64_is_refused(
    http: httpx.Client, sandbox: Sandbox, content: object
) -> None:
    asked = {"path": "/workspace/a", "content": content}
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/files", json=asked)
    assert answer.status_code == 422
    assert "content" in answer.json()["detail"]


@pytest.mark.parametrize("files", [[], [{"path": "/tmp/a", "content": ""}] * 65, "x", [5]])
def test_a_batch_without_sense_is_refused(
    http: httpx.Client, sandbox: Sandbox, files: object
) -> None:
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/files/batch", json={"files": files})
    assert answer.status_code == 422
