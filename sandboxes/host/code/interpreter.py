"""All contexts of one sandbox."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import KERNEL
from sandboxes.host.code.cell import Cell, Listener
from sandboxes.host.code.clock import RunningClock
from sandboxes.host.code.context import Context
from sandboxes.host.code.keeping import kept, seen_in
from sandboxes.host.code.types import (
    CODE_LIMIT,
    CONTEXTS_LIMIT,
    DEFAULT_CONTEXT,
    CodeRequest,
    ContextInfo,
    Told,
)
from sandboxes.host.files import check_path
from sandboxes.host.types import Box, HostError
from timeline.events import Actor

#: Templates that have the kernel.
TEMPLATES: Final = ("code-interpreter",)
HOME: Final = "/workspace"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class Interpreter:
    """Use from one event loop. ``has_kernel``: whether the sandbox's template does."""

    def __init__(self, box: Box, *, has_kernel: bool) -> None:
        self._box = box
        self._has_kernel = has_kernel
        self._clock = RunningClock()
        self._contexts: dict[str, Context] = {}
        self._opening = asyncio.Lock()
        self._recalled = False

    # ---- for callers --------------------------------------------------------------------------

    async def stream(self, request: CodeRequest, *, actor: Actor) -> AsyncGenerator[Told, None]:
        """Run a cell: ``accepted``, its outputs as they come, ``done``. Raises ``HostError``.

        A slow reader slows the code down. Closing the iterator leaves the cell running.
        """
        self._check()
        _check_cell(request)
        context = await self._context(request.context_id, actor)
        listener = Listener()
        context.run(Cell(self._box, request, actor, listener=listener))
        try:
            yield Told("accepted", {})
            while True:
                told = await listener.next()
                yield told
                if told.kind == "done":
                    return
        finally:
            listener.leave()

    def list(self) -> list[ContextInfo]:
        """In the order in which they were made. Raises ``HostError``."""
        self._check()
        found = [context.info() for context in self._contexts.values()]
        return sorted(found, key=lambda info: info.created_at)

    async def create(self, context_id: str, *, cwd: str, actor: Actor) -> ContextInfo:
        """A new one whose kernel runs. Raises ``HostError``."""
        self._check()
        check_path(cwd)
        async with self._opening:
            return (await self._open(context_id, cwd, actor)).info()

    async def restart(self, context_id: str, *, actor: Actor) -> ContextInfo:
        """The same context with nothing in it. Raises ``HostError``."""
        context = self._find(context_id)
        await context.restart(actor)
        return context.info()

    async def remove(self, context_id: str, *, actor: Actor) -> None:
        """End its kernel for good. Raises ``HostError``."""
        context = self._find(context_id)
        del self._contexts[context_id]
        await context.remove(actor)

    def _check(self) -> None:
        if not self._has_kernel:
            raise HostError(
                "interpreter_unavailable",
                "This sandbox's template has no interpreter; create one from code-interpreter, "
                "or run a command instead.",
            )

    def _find(self, context_id: str) -> Context:
        self._check()
        context = self._contexts.get(context_id)
        if context is None:
            message = "There is no such context in this sandbox; list them, or create one."
            raise HostError("no_such_context", message)
        return context

    async def _context(self, context_id: str, actor: Actor) -> Context:
        """The default one is made when it is first asked for."""
        if context_id != DEFAULT_CONTEXT or context_id in self._contexts:
            return self._find(context_id)
        async with self._opening:
            found = self._contexts.get(context_id)
            return found or await self._open(context_id, HOME, actor)

    async def _open(self, context_id: str, cwd: str, actor: Actor) -> Context:
        if not _ID.fullmatch(context_id) or context_id in self._contexts:
            raise HostError("invalid", "A context's id is ctx_<ULID>, and no other has it.")
        if len(self._contexts) >= CONTEXTS_LIMIT:
            message = f"The sandbox has {CONTEXTS_LIMIT} contexts already; remove one."
            raise HostError("context_limit", message, extra={"limit": CONTEXTS_LIMIT})
        try:
            context = Context(self._box, self._clock, context_id, cwd=cwd)
        except OSError as error:
            message = "The host cannot record the context; free space on its disk."
            raise HostError("internal", message) from error
        try:
            await context.open(actor)
        except BaseException:
            await asyncio.shield(context.discard())
            raise
        self._contexts[context_id] = context
        return context

    # ---- for the host -------------------------------------------------------------------------

    def hold(self) -> None:
        """The sandbox stands still now."""
        if not self._clock.is_held:
            self._clock.hold()
            for context in self._contexts.values():
                context.hold()

    def go_on(self) -> None:
        """It runs again."""
        if self._clock.is_held:
            self._clock.go_on()
            for context in self._contexts.values():
                context.go_on()

    def recall(self, *, held: bool) -> None:
        """Read what an earlier host left, before anybody shortens the journal."""
        self._recalled = True
        if held:
            self._clock.hold()
        names = kept(self._box)
        seen = seen_in(self._box.journal.scan()) if names else {}
        for name in names:
            context = Context(self._box, self._clock, name, cwd=HOME)
            try:
                if context.restore(seen):
                    self._contexts[name] = context
            except (ValueError, KeyError, TypeError) as error:
                log.warning("context %s of %s is of no use: %s", name, self._box.sandbox_id, error)

    async def recover(self) -> None:
        """Find the kernels again. Call ``recall`` first; does nothing when nobody has."""
        if not self._recalled:
            return
        self._recalled = False
        try:
            known = {one.command_id for one in await questions.listed(self._box.agent_socket)}
        except HostError:
            known = set()
        for context in self._contexts.values():
            await context.recover(known)
        owned = {context.kernel_name for context in self._contexts.values()}
        for name in known - owned:
            if name.startswith(KERNEL):
                with suppress(HostError):
                    await questions.kill(self._box.agent_socket, name)

    async def settled(self) -> None:
        """Of a sandbox that has ended: every cell's end is recorded."""
        await asyncio.gather(*(context.settled() for context in self._contexts.values()))

    async def close(self) -> None:
        """Stop following; a later host goes on."""
        await asyncio.gather(*(context.close() for context in self._contexts.values()))
        self._contexts.clear()


def _check_cell(request: CodeRequest) -> None:
    if not _ID.fullmatch(request.cell_id):
        raise HostError("invalid", "A cell's id is letters, digits, _ and -; use cell_<ULID>.")
    if not 0 < request.timeout_seconds <= 24 * 3600:
        raise HostError("invalid", "timeout_seconds is out of range; use a positive number.")
    try:
        size = len(request.code.encode())
    except UnicodeEncodeError as error:
        raise HostError("invalid", "code holds half a character; send valid UTF-8.") from error
    if size > CODE_LIMIT:
        message = "code is over 1 MiB; write it to a file in the sandbox and run that."
        raise HostError("too_large", message, extra={"limit": CODE_LIMIT})
