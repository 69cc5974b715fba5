# SPDX-License-Identifier: Apache-2.0
"""`amphoractl watch` as a process, who sends to it, and a web server that it tells."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import waiting
from tests.support.netns import Namespace
from tests.support.watched import KEY, datagram

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
_PROGRAM = "import sys; from amphora_controller.cli import main; sys.exit(main())"
AMPHORACTL = (sys.executable, "-W", "error", "-c", _PROGRAM)


def udp_port() -> int:
    """A port that nobody listens at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Amphora:
    """Sends datagrams to a port on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.sequence = 0

    def send(self, payload: bytes) -> None:
        """One datagram."""
        self._socket.sendto(payload, ("127.0.0.1", self._port))

    def beat(self, *members: str, **more: str) -> None:
        """One heartbeat with members of these statuses."""
        self.send(datagram(*members, sequence=self.sequence, **more))
        self.sequence += 1

    def close(self) -> None:
        """Send no more."""
        self._socket.close()


class Watch:
    """A watch that writes lines."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    def text(self) -> str:
        """What it wrote."""
        return self._out.read_text()

    def complaints(self) -> str:
        """What it wrote to standard error."""
        return self._err.read_text()

    def rows(self) -> list[dict[str, Any]]:
        """What it wrote with --json, but for a line that is not whole yet."""
        return [
            json.loads(line) for line in self.text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def await_row(self, **fields: Any) -> dict[str, Any]:
        """Wait for a row that has all of these fields."""
        return waiting.until(
            f"a row with {fields}",
            lambda: next((row for row in self.rows() if fields.items() <= row.items()), None),
            deadline_s=DEADLINE_S,
            every_s=0.05,
        )

    def await_text(self, text: str) -> None:
        """Wait until it has written a text."""
        waiting.until(
            f"{text!r} from the watch",
            lambda: True if text in self.text() else None,
            deadline_s=DEADLINE_S,
            every_s=0.05,
        )

    def await_ear(self, port: int, inside: Namespace | None = None) -> None:
        """Wait until it listens at a port."""
        shown = ["ss", "-Hlun", f"sport = :{port}"]
        argv = shown if inside is None else inside.command(*shown)
        waiting.until(
            f"the watch at port {port}",
            lambda: subprocess.run(argv, capture_output=True, check=True).stdout or None,
            deadline_s=DEADLINE_S,
            every_s=0.05,
        )

    def await_raw_sockets(self, inside: Namespace) -> None:
        """Wait until it has one for each family."""

        def has_both() -> bool | None:
            shown = subprocess.run(
                inside.command("cat", "/proc/net/raw", "/proc/net/raw6"),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            # 0011 is UDP, in place of a port.
            return shown.count(":0011 ") >= 2 or None

        waiting.until("raw sockets", has_both, deadline_s=DEADLINE_S, every_s=0.1)

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=DEADLINE_S)

    def kill(self) -> None:
        """End it without giving it a chance to do anything more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=DEADLINE_S)


@contextmanager
def watching(
    directory: Path, *options: str, inside: Namespace | None = None, key: str = KEY
) -> Iterator[Watch]:
    """Start a watch; it is ended at the end, if it was not before, and had no traceback."""
    (directory / "key").write_text(key)
    out, err = directory / "watch.out", directory / "watch.err"
    argv = [*AMPHORACTL, "watch", "--key-file", str(directory / "key"), *options]
    with out.open("wb") as output, err.open("wb") as errors:
        process = subprocess.Popen(
            argv if inside is None else inside.command(*argv),
            cwd=REPOSITORY,
            env={**os.environ, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
    watch = Watch(process, out, err)
    try:
        yield watch
    finally:
        process.terminate()
        try:
            process.wait(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert "Traceback" not in watch.complaints(), watch.complaints()


class Hook:
    """A web server on loopback that is up or down, and notes what it is POSTed.

    Attributes:
        answer: the status of each answer; None takes a document and hangs up without one.
        took: documents that were taken, in order.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer: int | None = 204
        self.took: list[dict[str, Any]] = []
        self.asked = 0
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it is, if it is up."""
        return f"http://127.0.0.1:{self.port}/hook?secret=1"

    def up(self) -> None:
        """Serve."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def await_told(self, probe: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Wait until what was taken is as it should be."""
        return waiting.until(
            "the hook to be told",
            lambda: list(self.took) if probe(self.took) else None,
            deadline_s=DEADLINE_S,
            every_s=0.05,
        )

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.asked += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = hook.answer
                if answer is None or 200 <= answer < 300:
                    hook.took.append(body)
                if answer is None:
                    return
                # A watch that was killed does not wait for the answer.
                with suppress(OSError):
                    self.send_response(answer)
                    if answer == 302:
                        self.send_header("Location", "/elsewhere")
                    self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
