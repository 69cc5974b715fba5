# SPDX-License-Identifier: Apache-2.0
"""What is measured of one running agent."""

import contextlib
import functools
import http.client
import re
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from bench.agent import haproxy_config, sandbox
from bench.agent.sandbox import Sandbox

_DEADLINE_S = 60.0
_PROBE_S = 0.005
_GRACE_S = 15.0
_INFO = "/1.0/info"
_OK = 200
_ACCEPTED = 202


class AgentFailedError(Exception):
    """An agent did not do what it should; there is nothing to measure."""


def connect(box: Sandbox) -> http.client.HTTPSConnection:
    """A controller, not yet connected; as Octavia's, it resumes no TLS session."""
    return http.client.HTTPSConnection(
        "127.0.0.1", sandbox.PORT, timeout=_DEADLINE_S, context=_context(box)
    )


@functools.cache
def _context(box: Sandbox) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(box.trust))
    context.check_hostname = False
    context.load_cert_chain(box.identity)
    return context


def ask(
    connection: http.client.HTTPSConnection, path: str = _INFO, body: bytes | None = None
) -> int:
    """One request; whether the connection stays is up to the agent."""
    connection.request("GET" if body is None else "PUT", path, body)
    response = connection.getresponse()
    response.read()
    return response.status


@contextlib.contextmanager
def running(
    commands: Sequence[Sequence[str]], box: Sandbox, log: Path
) -> Iterator[tuple[list[psutil.Process], float]]:
    """Start an agent's services, and end them.

    Yields:
        Their processes, and seconds from the start to the first answer over mutual TLS.
    """
    environment = {
        "PATH": f"{box.stand_ins}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
    }
    _context(box)
    with log.open("ab") as output:
        begin = time.monotonic()
        processes = [
            subprocess.Popen(
                argv, cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output,
            )
            for argv in commands
        ]  # fmt: skip
        try:
            _await_answer(box, processes, begin)
            yield [psutil.Process(process.pid) for process in processes], time.monotonic() - begin
        finally:
            _end(processes)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes and all that they started."""
    family = [
        member
        for process in processes
        if process.poll() is None
        for member in psutil.Process(process.pid).children(recursive=True)
    ]
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, alive = psutil.wait_procs(family, timeout=_GRACE_S)
    for member in alive:
        member.kill()


def _await_answer(box: Sandbox, processes: Sequence[subprocess.Popen[bytes]], begin: float) -> None:
    while True:
        connection = connect(box)
        try:
            if ask(connection) == _OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        if any(process.poll() is not None for process in processes):
            raise AgentFailedError("it ended before it answered")
        if time.monotonic() > begin + _DEADLINE_S:
            raise AgentFailedError(f"no answer within {_DEADLINE_S:.0f} s")
        time.sleep(_PROBE_S)


def proportional_set_size(processes: Sequence[psutil.Process]) -> dict[str, int]:
    """Bytes that each process and each of its descendants uses (PSS), by name and id."""
    sizes = {}
    for process in _family(processes):
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
        if found is None:
            raise AgentFailedError(f"process {process.pid} has no Pss")
        name = f"{process.pid} (child of {process.ppid()})"
        sizes[name] = int(found[1]) * 1024
    return sizes


def _family(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    family = [child for parent in processes for child in parent.children(recursive=True)]
    return [*processes, *family]


def info_new(box: Sandbox, count: int) -> list[float]:
    """Seconds of each GET info, with a connection and a handshake of its own."""
    taken = []
    for _ in range(count):
        connection = connect(box)
        begin = time.monotonic()
        _expect(_OK, ask(connection))
        taken.append(time.monotonic() - begin)
        connection.close()
    return taken


def info_kept(box: Sandbox, count: int) -> tuple[list[float], int]:
    """Seconds of each GET info by a client that keeps its connection if the agent does.

    Returns:
        The seconds, and how often the client had to connect again.
    """
    connection = connect(box)
    _expect(_OK, ask(connection))
    taken, connects = [], 0
    for _ in range(count):
        connects += connection.sock is None
        begin = time.monotonic()
        _expect(_OK, ask(connection))
        taken.append(time.monotonic() - begin)
    connection.close()
    return taken, connects


def use(box: Sandbox) -> None:
    """Ask for what an agent may import only when it is asked: the machine's state, an interface."""
    for path in ("/1.0/details", "/1.0/interface/198.51.100.10"):
        connection = connect(box)
        ask(connection, path)
        connection.close()


def uploads(box: Sandbox, listeners: int, count: int) -> tuple[list[float], list[float]]:
    """Seconds of each upload on a new connection, and of `haproxy -c` of the same file before it.

    The first upload, which makes the load balancer known, does not count.
    """
    lb_id = str(uuid.uuid4())
    file = sandbox.FILES / "plain.cfg"
    taken, plain = [], []
    for revision in range(count + 1):
        content = haproxy_config.load_balancer(
            str(sandbox.BASE), lb_id, listeners=listeners, revision=revision
        )
        file.write_bytes(content)
        begin = time.monotonic()
        subprocess.run(
            ["/usr/sbin/haproxy", "-c", "-f", str(file),
             "-f", str(sandbox.BASE / "haproxy-default-user-group.conf")],
            check=True, capture_output=True,
        )  # fmt: skip
        checked = time.monotonic() - begin
        connection = connect(box)
        begin = time.monotonic()
        path = f"/1.0/loadbalancer/{box.amphora_id}/{lb_id}/haproxy"
        _expect(_ACCEPTED, ask(connection, path, content))
        uploaded = time.monotonic() - begin
        connection.close()
        if revision:
            taken.append(uploaded)
            plain.append(checked)
    return taken, plain


def _expect(wanted: int, status: int) -> None:
    if status != wanted:
        raise AgentFailedError(f"it answered {status}, not {wanted}")
