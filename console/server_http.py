"""One HTTP request as Daphne serves it, with limits, interim responses and back-pressure."""

from __future__ import annotations

import json
import time
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet import reactor
from twisted.python.failure import Failure

from console.asgi_types import Message
from console.request_ids import HEADER, request_id_of
from console.server_body import Body, StandIn
from console.server_flow import Flow

# From the first line to the last byte of the body, plus what the body's size takes at the slowest.
_RECEIVE_SECONDS = 30.0
_SLOWEST_BYTES_A_SECOND = 64 * 1024
# How long an answered 413 goes on reading, so that its sender gets to see the answer.
_LINGER_SECONDS = 20.0


class HttpRequest(WebRequest):  # type: ignore[misc]
    """From its first line to the end of its answer."""

    content: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flow = Flow(self.channel.transport)
        self._began = time.monotonic()
        self._length = 0
        self._is_received = False
        self._is_refused = False
        self._is_lingering = False
        self.body: Body | None = None  # of a request whose application has it as it arrives

    @property
    def is_unanswered(self) -> bool:
        return self._is_received and not self._response_started

    # Receiving

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's names
        """Called with the headers: ``length`` is None for a chunked body."""
        self._length = length or 0
        # A websocket's handshake has no body, and takes the channel over.
        may_begin = not self.requestHeaders.hasHeader(b"upgrade")
        if may_begin and self._is_streamed():
            self._begin_streamed()
        elif self._length > self.server.body_limit:
            super().gotLength(length)
            self._refuse()
        elif may_begin and self.server.begins_early(self.channel._path, length):
            self._begin_streamed()
        else:
            super().gotLength(length)

    def _is_streamed(self) -> bool:
        host = (self.requestHeaders.getRawHeaders(b"host") or [b""])[0]
        is_streamed: bool = self.server.is_streamed(self.channel._command, self.channel._path, host)
        return is_streamed

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self._is_refused:
            return
        if self.body is not None:
            self.body.feed(self.application_queue, data)
            return
        if self.content.tell() + len(data) > self.server.body_limit:
            self._refuse()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        self._is_received = True
        if self._is_refused:
            self.channel.loseConnection()
        elif self.body is not None:
            self.body.end(self.application_queue)
            if self._is_lingering:
                super().finish()
        else:
            self.content.seek(0)
            self._begin(command, path, version)

    def _begin_streamed(self) -> None:
        """Starts the application now that the headers are there."""
        self.body = Body(self.channel)
        self.content = StandIn()
        self._begin(self.channel._command, self.channel._path, self.channel._version)

    def _begin(self, command: bytes, path: bytes, version: bytes) -> None:
        """Without Twisted's parsing of forms and of addresses, which Django does once more."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.split(b"?", 1)[0]
        self.args: dict[bytes, list[bytes]] = {}
        self.process()

    def check_timeouts(self) -> None:
        """Called every two seconds; an answer may take for ever, a question may not."""
        allowed = _RECEIVE_SECONDS + self._length / _SLOWEST_BYTES_A_SECOND
        if not self._is_received and time.monotonic() - self._began > allowed and self.channel:
            self.channel.forceAbortClient()

    def _refuse(self) -> None:
        """Answers 413 now and throws away what still comes."""
        self._is_refused = True
        self.content.close()
        limit = self.server.body_limit // (1024 * 1024)
        detail = f"The body is larger than {limit} MiB; send less, or a file in parts."
        self.channel.transport.write(_too_large(self.requestHeaders.getAllRawHeaders(), detail))
        reactor.callLater(_LINGER_SECONDS, self._abort_if_open)

    def _abort_if_open(self) -> None:
        if self.channel is not None and not self._disconnected:
            self.channel.transport.abortConnection()

    # Answering

    def handle_reply(self, message: Message) -> None:
        if self.finished or self.channel is None:
            return
        if message["type"] == "http.response.informational":
            self._send_informational(message["status"])
            return
        if message["type"] == "http.response.abort":
            self.channel.transport.abortConnection()
            return
        if message["type"] == "http.response.start" and not self._response_started:
            self.registerProducer(self.flow, True)
            if self.body is not None and not self._is_received:
                self.responseHeaders.setRawHeaders(b"connection", [b"close"])
                self.channel.persistent = 0
        super().handle_reply(message)

    def finish(self) -> None:
        if self.producer is not None:
            self.unregisterProducer()
        if self.body is not None and not self._is_received:
            self._linger()
        else:
            super().finish()

    def _linger(self) -> None:
        """Answered before its body was there: closing now would take the answer back."""
        assert self.body is not None  # noqa: S101 - the caller looked
        self._is_lingering = True
        self.body.drop()
        reactor.callLater(_LINGER_SECONDS, self._abort_if_open)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        self.flow.stopProducing()
        super().connectionLost(reason)

    def _send_informational(self, status: int) -> None:
        """Not to HTTP/1.0, which knows none, nor to who still sends, nor after the final one."""
        if self.clientproto == b"HTTP/1.1" and self.is_unanswered:
            phrase = self.channel.factory.phrases.get(status, b"Information")
            self.channel.transport.write(b"HTTP/1.1 %d %s\r\n\r\n" % (status, phrase))


class HttpFactory(HTTPFactory):  # type: ignore[misc]
    """Makes connections whose requests are ``HttpRequest``."""

    phrases = {100: b"Continue", 102: b"Processing", 103: b"Early Hints"}  # noqa: RUF012

    def buildProtocol(self, address: Any) -> Any:  # noqa: N802
        protocol = super().buildProtocol(address)
        protocol.requestFactory = HttpRequest
        return protocol

    def log(self, request: Any) -> None:
        """Twisted would compose an access log line here for nobody to read."""


def _too_large(headers: Any, detail: str) -> bytes:
    body = json.dumps({"detail": detail}).encode()
    request_id = request_id_of([(name.lower(), values[0]) for name, values in headers])
    lines = (
        b"HTTP/1.1 413 Content Too Large",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        HEADER + b": " + request_id,
        b"",
        body,
    )
    return b"\r\n".join(lines)
