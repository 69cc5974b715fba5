# SPDX-License-Identifier: Apache-2.0
"""A real haproxy with many members, and one HTTP listener that answers by itself."""

import random
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

MEMBERS_PER_POOL = 50
_DEADLINE_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Balancer:
    """A running haproxy; `port` is that of its first listener."""

    base: Path
    port: int

    def serve(self) -> None:
        """One request, so that there is something new to count."""
        with closing(socket.create_connection(("127.0.0.1", self.port))) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while client.recv(4096):
                pass


@contextmanager
def running(base: Path, *, members: int) -> Iterator[Balancer]:
    """haproxy with so many members, at most `MEMBERS_PER_POOL` in each pool; one listener a pool.

    Args:
        base: base_path of the senders that are to ask it.
    """
    lb_id = str(uuid.uuid4())
    directory = base / lb_id
    directory.mkdir(parents=True)
    config = directory / "haproxy.cfg"
    pools = -(-members // MEMBERS_PER_POOL)
    ports = _free_ports(pools)
    config.write_text(_text(base, lb_id, ports, members))
    pid_file = directory / f"{lb_id}.pid"
    with subprocess.Popen(
        [
            *("haproxy", "-W", "-db", "-f", str(config), "-p", str(pid_file)),
            *("-S", f"{directory}/master.sock,mode,600"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _await(base / f"{lb_id}.sock", process)
            yield Balancer(base=base, port=ports[0])
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_S)


def _text(base: Path, lb_id: str, ports: list[int], members: int) -> str:
    made = random.Random(members)
    text = f"""global
    stats socket {base}/{lb_id}.sock mode 0666 level user
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
"""
    for number, port in enumerate(ports):
        listener, pool = _uuid(made), _uuid(made)
        count = min(MEMBERS_PER_POOL, members - number * MEMBERS_PER_POOL)
        servers = "".join(f"    server {_uuid(made)} 127.0.0.1:9 weight 1\n" for _ in range(count))
        text += f"""frontend {listener}
    bind 127.0.0.1:{port}
    http-request return status 200
    default_backend {pool}:{listener}
backend {pool}:{listener}
{servers}"""
    return text


def _uuid(made: random.Random) -> str:
    return str(uuid.UUID(int=made.getrandbits(128)))


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _await(path: Path, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < until_s and process.poll() is None:
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                time.sleep(_POLL_S)
            else:
                return
    raise RuntimeError("haproxy did not start")
