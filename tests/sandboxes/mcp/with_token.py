"""A door on the loopback that adds a token to each request, for a program that can send none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_HOPS = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@contextmanager
def with_token(url: str, text: str) -> Iterator[str]:
    """An address in front of ``url``. Host and Origin go through as they were sent."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {**self.headers, "Authorization": f"Bearer {text}"}
            body = self.rfile.read(length)
            method = self.command
            answer = httpx.request(
                method, url + self.path, content=body, headers=headers, timeout=60
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _HOPS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_DELETE = do_POST  # noqa: N815 - the library calls them so

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        serving.join(timeout=10)
