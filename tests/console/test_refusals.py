"""How a refusal reaches a script."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from accounts.errors import Invalid, NotFound
from console.refusals import Refusal, refusals
from sandboxes.errors import SandboxNotFound, WrongState
from sandboxes.host.types import HostError


@pytest.mark.parametrize(
    "message", ["Resume it first.", "There is no /workspace/a\r\nb é%41 🙂 \u2028.", "100% & <b>"]
)
def test_whatever_a_message_holds_arrives_in_one_plain_header(message: str) -> None:
    answer = Refusal(message).to_script()
    said = answer["x-message"]
    assert said.isascii()
    assert said.isprintable()
    assert unquote(said) == message == answer.content.decode()
    assert answer.status_code == 422


@pytest.mark.parametrize("error", [Invalid("No."), WrongState("No."), HostError("busy", "No.")])
def test_what_is_refused_is_caught_to_be_told(error: Exception) -> None:
    with refusals() as refusal:
        raise error
    assert refusal.message == "No."


@pytest.mark.parametrize("error", [NotFound("None."), SandboxNotFound("sbx_1"), ValueError()])
def test_what_is_not_there_and_what_went_wrong_goes_on(error: Exception) -> None:
    with pytest.raises(type(error)), refusals():
        raise error
