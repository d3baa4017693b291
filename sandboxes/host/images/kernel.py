"""One context's interpreter. Runs inside a sandbox; IPython does the language, this file the talk.

Stdin and stdout carry messages, each a length (u32, little endian) and JSON, as
``sandboxes/host/code/messages.py`` says. What code prints goes through pipes of its own, so neither
``print`` nor a child process can get between two messages by accident.
"""

from __future__ import annotations

import base64
import builtins
import codecs
import contextlib
import fcntl
import io
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

LENGTH = struct.Struct("<I")
STREAM_LIMIT = 4 * 1024 * 1024
PART_LIMIT = 4 * 1024 * 1024
TEXT_LIMIT = 1024 * 1024
#: Bytes of JSON that one character may take.
ESCAPED = 6
RESULTS_LIMIT = 64
WRITE = 64 * 1024
GATHER = 32 * 1024
EXPIRED_SECONDS = 0.2


def moved(descriptor: int, mode: int) -> int:
    """The descriptor's own file under a number that no child inherits."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)
    nothing = os.open(os.devnull, mode)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    return copy


def clean(text: str) -> str:
    """Without halves of characters, which JSON cannot carry."""
    return text.encode("utf-8", "replace").decode()


class Mouth:
    """Everything that is said goes through one thread, so an interrupt cuts no message in two."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting: queue.Queue[dict[str, Any]] = queue.Queue(256)
        self.pid = os.getpid()
        self.depth = 0
        self.interrupted = False
        threading.Thread(target=self._talk, daemon=True).start()

    def say(self, message: dict[str, Any]) -> None:
        """Waits while the host does not listen; an interrupt ends the waiting."""
        main = threading.current_thread() is threading.main_thread()
        self.depth += main
        try:
            while True:
                try:
                    self.waiting.put(message, timeout=EXPIRED_SECONDS)
                    break
                except queue.Full:
                    if main and self.interrupted and message["kind"] != "done":
                        break
        finally:
            self.depth -= main
        if main and self.interrupted and not self.depth:
            self.interrupted = False
            raise KeyboardInterrupt

    def _talk(self) -> None:
        held: dict[str, Any] | None = None
        while True:
            message = held or self.waiting.get()
            held = None
            while message["kind"] == "stream" and len(message["text"]) < GATHER:
                try:
                    held = self.waiting.get_nowait()
                except queue.Empty:
                    break
                if not joins(message, held):
                    break
                message = {**message, "text": message["text"] + held["text"]}
                held = None
            self._write(json.dumps(message, ensure_ascii=False).encode())
            if message["kind"] == "bye":
                os._exit(0)

    def _write(self, body: bytes) -> None:
        rest = memoryview(LENGTH.pack(len(body)) + body)
        while rest:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except OSError:  # the host's end is gone, and with it the sense of going on
                os._exit(1)


def weight(text: str) -> int:
    """Its bytes as JSON."""
    return len(json.dumps(clean(text), ensure_ascii=False).encode())


def joins(one: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("kind", "stream", "cell")
    return all(one.get(key) == other.get(key) for key in keys)


class Printed(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr`` of the code."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, kernel: Kernel, name: str, descriptor: int) -> None:
        self.kernel = kernel
        self.name = name
        self.descriptor = descriptor
        self.buffer = io.FileIO(descriptor, "wb", closefd=False)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.descriptor

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if os.getpid() != self.kernel.mouth.pid:  # a forked child has no thread that talks
            os.write(self.descriptor, text.encode("utf-8", "replace"))
        else:
            self.kernel.printed(self.name, text)
        return len(text)


class Pipe:
    """What child processes and libraries in C write, to where ``print`` goes."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.end, write = os.pipe()
        os.dup2(write, descriptor)
        os.close(write)
        os.set_blocking(self.end, False)
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """What is there now; empty when nothing is."""
        try:
            return self.decoder.decode(os.read(self.end, WRITE))
        except BlockingIOError:
            return ""


class Kernel:
    """Runs one cell after another, whatever they do to it."""

    def __init__(self) -> None:
        self.hears = moved(0, os.O_RDONLY)
        self.mouth = Mouth(moved(1, os.O_WRONLY))
        self.pipes = [Pipe("stdout", 1), Pipe("stderr", 2)]
        self.reading = threading.RLock()
        self.cells: queue.Queue[tuple[str, str]] = queue.Queue()
        self.known: set[str] = set()
        self.parts: dict[str, list[str]] = {}
        self.cell = ""
        self.running = False
        self.leaving = False
        self.room: dict[str, int] = {}
        self.truncated: list[str] = []
        self.results = 0
        sys.stdout = Printed(self, "stdout", 1)
        sys.stderr = Printed(self, "stderr", 2)
        builtins.input = no_input
        signal.signal(signal.SIGINT, self.on_interrupt)

    # ---- what is heard ------------------------------------------------------------------------

    def listen(self) -> None:
        while True:
            message = json.loads(self.heard(LENGTH.unpack(self.heard(4))[0]))
            if "interrupt" in message:
                if self.running and message["interrupt"] == self.cell:
                    os.killpg(0, signal.SIGINT)
            elif "check" in message:
                self.check(message["check"])
            else:
                self.take(message)

    def heard(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = os.read(self.hears, size - len(data))
            if not more:
                os._exit(0)
            data += more
        return data

    def take(self, message: dict[str, Any]) -> None:
        """A cell comes in pieces; a first piece forgets what a dead host left unfinished."""
        cell = message["cell"]
        if message["piece"] == 0:
            self.parts = {cell: []}
        if cell in self.known or cell not in self.parts:
            return
        self.parts[cell].append(message["code"])
        if message["last"]:
            self.known.add(cell)
            self.cells.put((cell, "".join(self.parts.pop(cell))))

    def check(self, cell: str) -> None:
        """A host that was restarted asks whether the cell ever came."""
        if cell not in self.known:
            self.known.add(cell)
            self.mouth.say({"kind": "missing", "cell": cell})

    def on_interrupt(self, *_: object) -> None:
        if not self.running:
            return
        if self.mouth.depth:
            self.mouth.interrupted = True
        else:
            raise KeyboardInterrupt

    # ---- what is said -------------------------------------------------------------------------

    def printed(self, name: str, text: str) -> None:
        left = self.room.get(name, 0)
        if len(text) > left:
            self.cut(name)
            text = text[:left]
        self.room[name] = left - len(text)
        for start in range(0, len(text), WRITE):
            piece = clean(text[start : start + WRITE])
            self.mouth.say({"kind": "stream", "cell": self.cell, "stream": name, "text": piece})

    def cut(self, name: str) -> None:
        if name not in self.truncated:
            self.truncated.append(name)

    def drain(self, pipe: Pipe) -> bool:
        with self.reading:
            text = pipe.read()
            if text:
                self.printed(pipe.name, text)
        return bool(text)

    def pump(self) -> None:
        ends = {pipe.end: pipe for pipe in self.pipes}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                self.drain(ends[end])

    def result(self, data: dict[str, Any], *, final: bool) -> None:
        if self.results >= RESULTS_LIMIT:
            self.cut("results")
            return
        self.results += 1
        message = {"kind": "result", "cell": self.cell, "final": final, **self.parts_of(data)}
        self.mouth.say(message)

    def parts_of(self, data: dict[str, Any]) -> dict[str, Any]:
        text = data.get("text/markdown") or data.get("text/latex") or data.get("text/plain")
        found = {
            "text": self.fitting("text", text, TEXT_LIMIT),
            "html": self.fitting("html", data.get("text/html"), PART_LIMIT),
            "png": self.fitting("png", picture(data.get("image/png")), PART_LIMIT),
            "json": None,
        }
        if "application/json" in data:
            try:
                plain = json.dumps(data["application/json"], allow_nan=False)
                if self.fitting("json", plain, TEXT_LIMIT) is not None:
                    found["json"] = plain
            except (TypeError, ValueError, RecursionError):
                self.cut("json")
        return found

    def fitting(self, name: str, text: object, limit: int) -> str | None:
        """Text is cut; the rest is worth nothing in part. ``limit`` counts bytes of JSON."""
        if not isinstance(text, str):
            return None
        if len(text) <= limit and weight(text) <= limit:
            return clean(text)
        self.cut(name)
        return clean(text[: limit // ESCAPED]) if name == "text" else None

    def error(self, name: str, value: str, traceback: list[str]) -> None:
        lines = "\n".join(traceback)[-TEXT_LIMIT:].split("\n")
        known = {"name": clean(name)[:200], "value": clean(value)[:WRITE]}
        told = [clean(line) for line in lines]
        self.mouth.say({"kind": "error", "cell": self.cell, **known, "traceback": told})

    # ---- cells --------------------------------------------------------------------------------

    def serve(self, shell: Any) -> None:
        for work in (self.listen, self.pump):
            threading.Thread(target=work, daemon=True).start()
        self.mouth.say({"kind": "ready"})
        while not self.leaving:
            cell, code = self.cells.get()
            self.run(shell, cell, code)
        self.mouth.say({"kind": "bye"})
        threading.Event().wait()

    def run(self, shell: Any, cell: str, code: str) -> None:
        signal.signal(signal.SIGINT, self.on_interrupt)
        self.cell, self.results, self.truncated = cell, 0, []
        self.room = {"stdout": STREAM_LIMIT, "stderr": STREAM_LIMIT}
        self.running = True
        with contextlib.suppress(KeyboardInterrupt):
            shell.run_cell(code, store_history=True)
        while self.running:
            try:
                self.running = False
            except KeyboardInterrupt:
                continue
        self.mouth.interrupted = False
        for pipe in self.pipes:
            while self.drain(pipe):
                pass
        count = shell.execution_count - 1
        done = {"kind": "done", "cell": cell, "count": count, "truncated": self.truncated}
        self.mouth.say(done)


def no_input(prompt: object = "", /) -> str:
    raise RuntimeError("input() has nobody to ask here; give the value in the code.")


def picture(data: object) -> str | None:
    if isinstance(data, bytes):
        return base64.b64encode(data).decode()
    return data.replace("\n", "") if isinstance(data, str) else None


def shell_of(kernel: Kernel) -> Any:
    """IPython's shell with its outputs turned over to the kernel."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import Type
    from traitlets.config import Config

    class Hook(DisplayHook):
        """The value of a cell's last expression."""

        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            kernel.result(format_dict, final=True)

        def finish_displayhook(self) -> None:
            sys.stdout.flush()

    class Publisher(DisplayPublisher):
        """``display()`` and figures."""

        def publish(self, data: Any, *_: Any, **__: Any) -> None:
            kernel.result(data, final=False)

        def clear_output(self, wait: bool = False) -> None:
            pass

    class Shell(InteractiveShell):
        displayhook_class = Type(Hook)
        display_pub_class = Type(Publisher)

        def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
            kernel.error(getattr(etype, "__name__", "Error"), str(evalue), [*map(str, stb)])

        def _get_exc_info(self, exc_tuple: Any = None) -> Any:
            """Where an error came from, without this file's own part in it."""
            etype, value, first = super()._get_exc_info(exc_tuple)
            step = first
            while step is not None and step.tb_next is not None:
                if step.tb_next.tb_frame.f_code.co_filename == __file__:
                    step.tb_next = None
                step = step.tb_next
            return etype, value, first

        def ask_exit(self) -> None:
            kernel.leaving = True

        def system(self, cmd: str) -> None:
            """``!command``: what it prints comes through the pipes."""
            words = self.var_expand(cmd, depth=1)
            done = subprocess.run(["/bin/bash", "-c", words], check=False)
            self.user_ns["_exit_code"] = done.returncode

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Context"
    shell = Shell.instance(config=config, user_ns={"__name__": "__main__"})
    return shell


if __name__ == "__main__":
    sys.path[0] = ""
    one = Kernel()
    one.serve(shell_of(one))
