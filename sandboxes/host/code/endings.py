"""How a kernel ended, in words, for the caller of its cell and for the timeline."""

from __future__ import annotations

from typing import Final

from sandboxes.host.agent.frames import Ended
from sandboxes.host.code.messages import CodeError
from sandboxes.host.types import HostError

#: Reasons to end a kernel of which nobody needs to be told that it died.
WANTED: Final = ("restart", "remove")
NOT_RUN: Final = CodeError("NotRun", "The host restarted before the cell began; run it again.")

_LOST: Final = "its variables are lost and the next call starts a new one."
_TOLD: Final = {
    "restart": "The context was restarted while the cell ran; run it again.",
    "remove": "The context was removed while the cell ran; use another one.",
    "late": f"The cell went on after it was interrupted, so its kernel was ended; {_LOST}",
    "slow": "The interpreter did not start in time and was ended; try again.",
    "exit": f"The code ended its kernel with exit(); {_LOST}",
}


def of_kernel(ended: Ended | HostError, *, expected: str, complaint: bytes) -> CodeError:
    """``expected`` is why it was ended, if somebody ended it; ``complaint`` its last words."""
    if expected.startswith("broken: "):
        why = expected.removeprefix("broken: ")
        return CodeError("KernelDied", f"The kernel sent {why} and was ended; {_LOST}")
    if expected:
        name = "KernelDied" if expected == "exit" else "KernelRestarted"
        return CodeError(name, _TOLD[expected])
    if isinstance(ended, HostError):
        return CodeError("KernelDied", f"The kernel was gone with what it ran in; {_LOST}")
    return CodeError("KernelDied", f"The kernel {_how(ended)}; {_LOST}{_last_line(complaint)}")


def _how(ended: Ended) -> str:
    if ended.signal is None:
        return f"ended by itself (exit code {ended.exit_code})"
    why = ", perhaps out of memory" if ended.signal == 9 else ""
    return f"was ended by signal {ended.signal}{why}"


def _last_line(complaint: bytes) -> str:
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    return f" It said: {lines[-1][:300]}" if lines else ""
