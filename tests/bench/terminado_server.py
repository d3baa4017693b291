"""`python -m tests.bench.terminado_server PORT`: a shell of this machine as JupyterLab shows one.

The page draws with the same xterm.js as the console's, so that what differs is the way between.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from terminado.management import SingleTermManager
from terminado.websocket import TermSocket
from tornado.web import Application, RequestHandler, StaticFileHandler

VENDOR = Path(__file__).parents[2] / "static" / "vendor"
PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/vendor/xterm.css">
<div id="screen" style="width: 1200px; height: 600px"></div>
<script type="module">
import { Terminal } from "/vendor/xterm.js";
const terminal = new Terminal({ fontSize: 13, minimumContrastRatio: 4.5, scrollback: 10000 });
terminal.open(document.getElementById("screen"));
const socket = new WebSocket(`ws://${location.host}/websocket`);
terminal.onData((data) => socket.send(JSON.stringify(["stdin", data])));
socket.onmessage = ({ data }) => {
  const [kind, text] = JSON.parse(data);
  if (kind === "stdout") terminal.write(text);
};
socket.onopen = () => socket.send(JSON.stringify(["set_size", terminal.rows, terminal.cols]));
</script>
"""


class Page(RequestHandler):
    def get(self) -> None:
        self.write(PAGE)


async def main(port: int) -> None:
    manager = SingleTermManager(shell_command=["bash", "--norc"])
    routes: list[Any] = [
        (r"/websocket", TermSocket, {"term_manager": manager}),
        (r"/vendor/(.*)", StaticFileHandler, {"path": str(VENDOR)}),
        (r"/", Page),
    ]
    Application(routes).listen(port, address="127.0.0.1")
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
