"""The answer to a buffered command, of whose output there may be much."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterator
from typing import Final

import orjson
from django.http import HttpResponse, StreamingHttpResponse

from sandboxes.api.replies import exec_ending, exec_json, protect, reply
from sandboxes.host.types import ExecOutcome

#: Beyond so much output, text and JSON are made of one piece after the other while they are sent.
_WHOLE_BYTES: Final = 512 * 1024
_PIECE_BYTES: Final = 64 * 1024


def exec_reply(outcome: ExecOutcome) -> HttpResponse | StreamingHttpResponse:
    """The same JSON either way; only a short one says its length."""
    if len(outcome.stdout) + len(outcome.stderr) <= _WHOLE_BYTES:
        return reply(exec_json(outcome))
    response = StreamingHttpResponse(_pieces(outcome), content_type="application/json")
    protect(response)
    return response


async def _pieces(outcome: ExecOutcome) -> AsyncIterator[bytes]:
    yield b'{"stdout":"'
    for piece in _escaped(outcome.stdout):
        yield piece
    yield b'","stderr":"'
    for piece in _escaped(outcome.stderr):
        yield piece
    yield b'",' + orjson.dumps(exec_ending(outcome))[1:]


def _escaped(output: bytes | bytearray) -> Iterator[bytes]:
    """What stands between the quotes of a JSON text; a character may lie across two pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for start in range(0, len(output), _PIECE_BYTES):
        end = start + _PIECE_BYTES
        text = decoder.decode(output[start:end], final=end >= len(output))
        yield orjson.dumps(text)[1:-1]
