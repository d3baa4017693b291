"""The one place where what went wrong becomes HTTP: ``{"detail", "code"?, "reason"?}``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from accounts.errors import NotFound
from accounts.policy import Forbidden
from accounts.tokens import Refused
from sandboxes.api.replies import reply, text_of
from sandboxes.api.sentences import sentences
from sandboxes.errors import (
    BadLink,
    InvalidRequest,
    NotAvailable,
    PlanLimit,
    PreviewGone,
    PreviewLocked,
    PreviewNotFound,
    SandboxError,
    SnapshotCap,
    UsageExhausted,
    VolumeExists,
    VolumeInUse,
    WrongState,
)
from sandboxes.host.types import ExecOutcome, HostError

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 2
_PARTIAL_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and ``code`` of one kind of failure; ``retry`` says that trying again helps."""

    status: int
    code: str | None = None
    retry: bool = False


_DOMAIN: Final[dict[type[SandboxError], Answer]] = {
    BadLink: Answer(403, "bad_link"),
    PreviewNotFound: Answer(404),
    PreviewGone: Answer(410, "gone"),
    PreviewLocked: Answer(401, "preview_token_needed"),
    WrongState: Answer(409),
    PlanLimit: Answer(403, "plan_limit"),
    UsageExhausted: Answer(403, "usage_exhausted"),
    SnapshotCap: Answer(409, "snapshot_cap_reached"),
    VolumeInUse: Answer(409, "volume_in_use"),
    VolumeExists: Answer(409),
    InvalidRequest: Answer(422),
    NotAvailable: Answer(422, "not_available"),
}

_HOST: Final = {
    "not_found": Answer(409, "sandbox_lost"),
    "not_running": Answer(409),
    "paused": Answer(409),
    "not_paused": Answer(409),
    "snapshot_gone": Answer(409),
    "volume_in_use": Answer(409, "volume_in_use"),
    "volume_gone": Answer(409, "volume_gone"),
    "template_unavailable": Answer(422, "template_unavailable"),
    "host_full": Answer(503, "fleet_full_retry", retry=True),
    "host_unreachable": Answer(503, "host_unreachable", retry=True),
    "not_permitted": Answer(403, "not_permitted"),
    "no_such_file": Answer(404, "no_such_file"),
    "no_such_command": Answer(404, "no_such_command"),
    "no_such_context": Answer(404, "no_such_context"),
    "context_limit": Answer(409, "context_limit"),
    "interpreter_unavailable": Answer(409, "interpreter_unavailable"),
    "kernel_failed": Answer(409, "kernel_failed"),
    "is_directory": Answer(422, "is_directory"),
    "not_a_directory": Answer(422, "not_a_directory"),
    "not_a_file": Answer(422, "not_a_file"),
    "file_exists": Answer(422, "file_exists"),
    "file_changed": Answer(409, "file_changed"),
    "not_listening": Answer(502, "not_listening"),
    "bad_answer": Answer(502, "bad_answer"),
    "not_answering": Answer(504, "not_answering"),
    "busy": Answer(429, "busy", retry=True),
    "too_large": Answer(413, "too_large"),
    "no_space": Answer(422, "no_space"),
    "name_too_long": Answer(422, "name_too_long"),
    "pids_exhausted": Answer(409, "pids_exhausted"),
    "agent_lost": Answer(409, "agent_lost"),
    "isolation_unavailable": Answer(503, "isolation_unavailable"),
    "network_unavailable": Answer(503, "network_unavailable", retry=True),
    "invalid": Answer(422, "invalid"),
    "internal": Answer(500, "internal"),
}

_AWAY: Final = Answer(503, "database_unreachable", retry=True)


def failure(answer: Answer, detail: str, **extra: Any) -> HttpResponse:
    """An error's answer. ``extra`` goes beside ``detail`` and ``code``."""
    body: dict[str, Any] = {"detail": detail, **extra}
    if answer.code is not None:
        body["code"] = answer.code
    if answer.retry:
        body["retry_after"] = RETRY_SECONDS
    response = reply(body, status=answer.status)
    if answer.retry:
        response["Retry-After"] = str(RETRY_SECONDS)
    if answer.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def host_failure(error: HostError) -> HttpResponse:
    """What the host refused."""
    return failure(_HOST.get(error.code, _HOST["internal"]), error.message)


def exec_failure(outcome: ExecOutcome, *, timeout_seconds: float) -> HttpResponse:
    """A command that did not exit by itself, with the end of what it wrote."""
    partial = {
        "stdout": text_of(outcome.stdout[-_PARTIAL_BYTES:]),
        "stderr": text_of(outcome.stderr[-_PARTIAL_BYTES:]),
        "duration_ms": outcome.duration_ms,
    }
    if outcome.timed_out:
        return failure(Answer(408, "exec_timeout"), timed_out(timeout_seconds), **partial)
    signal = outcome.signal or 0
    return failure(Answer(409, "exec_killed"), killed(signal), signal=signal, **partial)


def timed_out(seconds: float) -> str:
    """The sentence for a command that ran over."""
    unit = "second" if seconds == 1 else "seconds"
    return f"The command ran longer than {seconds:g} {unit} and was stopped; the sandbox lives on."


def killed(signal: int) -> str:
    """The sentence for a command that a signal ended; 0 when nobody saw which."""
    if not signal:
        return "The command ended with what it ran in; nobody saw how."
    why = " It may have run out of memory." if signal == 9 else ""
    return f"The command was ended by signal {signal}.{why}"


def install(api: NinjaAPI) -> None:
    """Tell ``api`` how to answer every exception there is."""
    for kind, answer in _ANSWERS.items():
        api.add_exception_handler(kind, answer)


def answer_for(error: Exception) -> HttpResponse:
    """The same, for what is served without ``api``."""
    kind = next(kind for kind in _ANSWERS if isinstance(error, kind))
    return _ANSWERS[kind](HttpRequest(), error)


def _refused(_: HttpRequest, error: Any) -> HttpResponse:
    return failure(Answer(401), str(error))


def _forbidden(_: HttpRequest, error: Any) -> HttpResponse:
    return failure(Answer(403), str(error))


def _not_found(_: HttpRequest, error: Any) -> HttpResponse:
    return failure(Answer(404), str(error))


def _domain(_: HttpRequest, error: Any) -> HttpResponse:
    extra = {"reason": error.reason} if isinstance(error, PlanLimit) else {}
    return failure(_DOMAIN[type(error)], str(error), **extra)


def _host(_: HttpRequest, error: Any) -> HttpResponse:
    if error.code == "internal":
        logger.error("the sandbox host failed: %s", error.message)
    return host_failure(error)


def _validation(_: HttpRequest, error: Any) -> HttpResponse:
    return failure(Answer(422), sentences(error.errors))


def _too_big(_: HttpRequest, __: Any) -> HttpResponse:
    return failure(
        Answer(413, "too_large"), "The request is over 24 MiB; send the file in smaller parts."
    )


def _http(_: HttpRequest, error: Any) -> HttpResponse:
    if error.status_code == 400:
        return failure(Answer(422), "The body is not valid JSON; send one JSON object in UTF-8.")
    return failure(Answer(error.status_code), f"{error.message}.")


def _away(_: HttpRequest, error: Any) -> HttpResponse:
    logger.warning("the database did not answer: %s", error)
    return failure(_AWAY, "The database does not answer; try again in a few seconds.")


def _unexpected(_: HttpRequest, error: Any) -> HttpResponse:
    logger.error("a request failed", exc_info=error)
    return failure(
        Answer(500, "internal"), "Something went wrong here; the log has it under x-request-id."
    )


_ANSWERS: Final[dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]]] = {
    Refused: _refused,
    Forbidden: _forbidden,
    NotFound: _not_found,
    SandboxError: _domain,
    HostError: _host,
    ValidationError: _validation,
    RequestDataTooBig: _too_big,
    HttpError: _http,
    OperationalError: _away,
    InterfaceError: _away,
    Exception: _unexpected,
}
