"""Our entry to Daphne: `python -m console.server --host 127.0.0.1 --port 8000`.

What it adds to Daphne:

- **Back-pressure.** ``await send(…)`` waits while the peer is behind, so a slow reader of a stream
  costs a buffer's worth of memory and not the stream's. A peer that takes nothing for a minute is
  dropped.
- **Interim responses.** A message of type ``http.response.informational`` sends ``102 Processing``
  (console/interim.py uses it to keep a client's read timeout from ending a long command).
- **Bodies as they arrive**, for the requests that ``is_streamed`` names: at the application's pace,
  and without a limit; and for those that ``begins_early`` names, whose application may refuse by
  the headers alone, and holds to the limit where the headers tell no length. A message of type
  ``http.response.abort`` ends a connection whose answer cannot be finished.
- **Limits.** A body over ``REQUEST_BODY_MAX_BYTES`` is answered 413 as soon as that is known; who
  takes too long to send a request is dropped.
- **A quiet end.** On TERM it stops listening, lets requests finish for a few seconds, then stops.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from daphne.server import Server  # isort:skip  # first: it chooses Twisted's reactor
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.logger import STDLibLogObserver, globalLogBeginner

from console.asgi_types import App, Message, Scope
from console.server_body import KEY, metered
from console.server_http import HttpFactory, HttpRequest
from console.server_websocket import ConnectionFactory
from timeline.extensions import WRITE

_FINISH_SECONDS = 8.0
_POLL_SECONDS = 0.05
_BACKLOG = 1024
#: How long the event loop and the database threads wait for each other's turn at the interpreter.
#: Python's own 5 ms, for each query of fifty creates at once, was most of their time.
_SWITCH_SECONDS = 0.001


class ConsoleServer(Server):  # type: ignore[misc]
    """Daphne's server with the protocols of ``server_http`` and ``server_websocket``."""

    def __init__(
        self,
        application: App,
        *,
        endpoint: str,
        body_limit: int,
        is_streamed: Callable[[bytes, bytes, bytes], bool] = lambda method, path, host: False,
        begins_early: Callable[[bytes, int | None], bool] = lambda path, length: False,
    ) -> None:
        self.body_limit = body_limit
        self.is_streamed = is_streamed
        self.begins_early = begins_early
        self.failure = ""
        self._stopping: asyncio.Future[None] | None = None
        super().__init__(
            metered(application),
            endpoints=[endpoint],
            signal_handlers=False,
            request_buffer_size=64 * 1024,
            server_name="",
            verbosity=0,
        )

    def run(self) -> None:
        """Until TERM or INT. Raises ``SystemExit`` when it cannot listen."""
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = HttpFactory(self)
        self.ws_factory = self._websockets()
        observer = STDLibLogObserver("twisted")
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
        loop = reactor._asyncioEventloop
        asyncio.set_event_loop(loop)
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._ask_to_stop)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        reactor.callWhenRunning(self._listen)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        reactor.run(installSignalHandlers=False)
        if self.failure:
            raise SystemExit(f"Cannot listen: {self.failure}")

    def _websockets(self) -> ConnectionFactory:
        factory = ConnectionFactory(self, server=self.server_name)
        factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        return factory

    def _listen(self) -> None:
        for description in self.endpoints:
            listener = serverFromString(reactor, description).listen(self.http_factory)
            listener.addErrback(self._listen_failed)
            self.listeners.append(listener)

    def _listen_failed(self, failure: Any) -> None:
        self.failure = failure.getErrorMessage()
        self.stop()

    def create_application(self, protocol: Any, scope: Scope) -> Any:
        if scope["type"] == "http":
            scope["extensions"] = {"http.response.informational": {}}
            if protocol.body is not None:
                scope[KEY] = protocol.body
        else:
            scope[KEY] = protocol.intake
            scope["extensions"] = {WRITE: protocol.write}
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """What the application's ``send`` is: hands over, then waits for the peer."""
        await super().handle_reply(protocol, message)
        await protocol.flow.drained()

    def _ask_to_stop(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop_in_peace())

    async def _stop_in_peace(self) -> None:
        for listener in self.listeners:
            listener.addCallback(lambda port: port and port.stopListening())
        deadline = asyncio.get_running_loop().time() + _FINISH_SECONDS
        while self._unanswered() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        self.stop()

    def _unanswered(self) -> bool:
        """Whether a request still waits for its answer. A stream has had its start: it may end."""
        return any(
            isinstance(protocol, HttpRequest) and protocol.is_unanswered
            for protocol in self.connections
        )


def endpoint_of(*, host: str, port: int, unix: str) -> str:
    """Twisted's description of where to listen."""
    if unix:
        return f"unix:{unix}:mode=660:backlog={_BACKLOG}"
    kind = "tcp6" if ":" in host else "tcp"
    escaped = host.replace(":", r"\:")
    return f"{kind}:port={port}:interface={escaped}:backlog={_BACKLOG}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="console.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--unix", default="", help="a socket's path, instead of host and port")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    from django.conf import settings

    from console.asgi import application

    # What is loaded by now stays for good; the collector need not walk it at every turn.
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    endpoint = endpoint_of(host=arguments.host, port=arguments.port, unix=arguments.unix)
    body_limit = settings.REQUEST_BODY_MAX_BYTES
    ConsoleServer(
        application,
        endpoint=endpoint,
        body_limit=body_limit,
        is_streamed=_is_streamed,
        begins_early=_begins_early,
    ).run()


def _is_streamed(method: bytes, path: bytes, host: bytes) -> bool:
    """A file that is put by a signed link (console/transfers.py), and all that previews get."""
    from console.preview.app import is_preview

    return (method == b"PUT" and path.startswith(b"/files/")) or is_preview(host)


def _begins_early(path: bytes, length: int | None) -> bool:
    """The API, of which each request is judged by its token."""
    from console.asgi import API_PREFIXES
    from console.large_bodies import is_large

    return is_large(length) and path.startswith(tuple(map(str.encode, API_PREFIXES)))


if __name__ == "__main__":
    main()
