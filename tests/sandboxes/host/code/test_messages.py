"""What a kernel says, believed only as far as it makes sense."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from sandboxes.host.code.messages import (
    MESSAGE_LIMIT,
    BrokenKernelError,
    Done,
    Printed,
    Ready,
    Result,
    Splitter,
    parse,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()


def packed(message: object) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("<I", len(body)) + body


def result(**parts: object) -> Result:
    row = {"kind": "result", "cell": "c", "final": True, **parts}
    found = parse(json.dumps(row).encode())
    assert isinstance(found, Result)
    return found


def test_messages_are_found_however_they_were_cut() -> None:
    said = packed({"kind": "ready"}) + packed(
        {"kind": "stream", "cell": "c", "stream": "stdout", "text": "žluť"}
    )
    splitter, found = Splitter(), []
    for at in range(len(said)):
        found += list(splitter.feed(said[at : at + 1]))
    assert [one for one, _ in found] == [Ready(), Printed("c", "stdout", "žluť")]
    assert found[-1][1] == splitter.at == len(said)
    assert list(Splitter().feed(said)) == found


def test_a_message_of_4_gb_is_not_waited_for() -> None:
    with pytest.raises(BrokenKernelError, match="4294967295 bytes"):
        list(Splitter().feed(b"\xff\xff\xff\xff"))
    assert list(Splitter().feed(struct.pack("<I", MESSAGE_LIMIT))) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        b"[" * 5000,
        b'{"kind": "surprise"}',
        b'{"kind": []}',
        b'{"kind": "stream", "cell": "c", "stream": "stdin", "text": ""}',
        b'{"kind": "stream", "cell": "c", "stream": "stdout"}',
        b'{"kind": "stream", "cell": 1, "stream": "stdout", "text": ""}',
        b'{"kind": "result", "cell": "c", "png": "not base64!"}',
        b'{"kind": "result", "cell": "c", "json": "{"}',
        b'{"kind": "result", "cell": "c", "html": {}}',
        b'{"kind": "error", "cell": "c", "name": "E", "value": "v"}',
        b'{"kind": "done", "cell": "c", "count": -1, "truncated": []}',
        b'{"kind": "done", "cell": "c", "count": 1e99, "truncated": []}',
        b'{"kind": "done", "cell": "c", "count": 1}',
        b'{"kind": "missing"}',
    ],
)
def test_what_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenKernelError):
        parse(body)


def test_the_richest_representation_names_a_result() -> None:
    assert result(text="t").type == "text"
    assert result(text="t", json="[1]").type == "json"
    assert result(text="t", json="[1]", html="h").type == "html"
    assert result(text="t", json="[1]", html="h", png=PNG).type == "image_png"
    assert result(json="[1]").to_json() == {
        "type": "json",
        **{"text": None, "html": None, "png": None, "json": [1], "chart": None},
    }


def test_an_image_that_is_no_png_is_left_out() -> None:
    script = base64.b64encode(b"<svg onload=alert(1)>").decode()
    assert result(text="t", png=script).png is None
    assert result(json="3").json is None


def test_only_known_outputs_are_named_as_cut() -> None:
    row = {"kind": "done", "cell": "c", "count": 3, "truncated": ["png", "<b>", 5, "stdout"]}
    assert parse(json.dumps(row).encode()) == Done("c", 3, ("stdout", "png"))
