# SPDX-License-Identifier: Apache-2.0
"""A load balancer whose configuration changes, and what its haproxy makes of it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from ipaddress import IPv4Address
from pathlib import Path

from amphora_agent import haproxyservers
from amphora_agent.system import haproxy_socket
from amphora_agent.system.haproxy import HaproxyProgram
from tests.support import http_member
from tests.support.netns import Namespace

VIP = IPv4Address("127.0.0.1")
PLAIN_PORT, TLS_PORT = 80, 443
_TIMEOUT_S = 10.0
_PROGRAM = Path("haproxy")
# What a test may ask for at most, whatever it waits for.
_REQUESTS_MAX = 20_000


@dataclass(frozen=True, kw_only=True)
class Member:
    """A server of the pool."""

    port: int
    weight: int = 1
    enabled: bool = True
    address: str = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the configuration is made of.

    Attributes:
        certificates: paths in the certificate list, the default one first; none, no TLS listener.
        limit: connections of the listeners.
    """

    members: Mapping[str, Member]
    certificates: tuple[str, ...] = ()
    limit: int = 500
    balance: str = "roundrobin"
    check: bool = False
    extra: tuple[str, ...] = field(default=())

    def config(self, base: Path, lb_id: str) -> str:
        """The text, with the directives that Octavia renders."""
        tls = f"""
frontend tls
    mode http
    maxconn {self.limit}
    bind {VIP}:{TLS_PORT} ssl crt-list {self.list_path(base, lb_id)}
    default_backend pool:plain
"""
        check = " check inter 1s fall 3 rise 2" if self.check else ""
        servers = "".join(
            f"    server {name} {member.address}:{member.port} weight {member.weight}{check}"
            f"{'' if member.enabled else ' disabled'}\n"
            for name, member in self.members.items()
        )
        state = "    load-server-state-from-file global\n" if self.check else ""
        extra = "".join(f"    {line}\n" for line in self.extra)
        return f"""# Configuration for loadbalancer {lb_id}
global
    daemon
    user nobody
    stats socket {base}/{lb_id}.sock mode 0666 level user
    maxconn {2 * self.limit}
    server-state-file {base}/{lb_id}/servers-state

defaults
    mode http
    retries 3
    option redispatch
    timeout connect 2s
    timeout client 10s
    timeout server 10s

frontend plain
    mode http
    maxconn {self.limit}
    bind {VIP}:{PLAIN_PORT}
{extra}    default_backend pool:plain
{tls if self.certificates else ""}
backend pool:plain
    mode http
    balance {self.balance}
    http-reuse safe
{state}{servers}"""

    def certificate_list(self) -> str:
        """The text of the certificate list."""
        return "".join(f"{path}\n" for path in self.certificates)

    @staticmethod
    def list_path(base: Path, lb_id: str) -> Path:
        """Where the certificate list is."""
        return base / "certs" / lb_id / f"{lb_id}.pem"


def worker_pid(base: Path, lb_id: str) -> int:
    """Process id of the worker that takes new connections."""
    info = HaproxyProgram(_PROGRAM).current(base / lb_id / "master.sock", wait=True)
    return next(int(line[5:]) for line in info.splitlines() if line.startswith("Pid: "))


def servers(socket: Path) -> dict[haproxyservers.Key, haproxyservers.State]:
    """What a haproxy says of its servers."""
    answer = haproxy_socket.query(socket, "show servers state", timeout_s=_TIMEOUT_S)
    return haproxyservers.states(answer)


@dataclass
class Load:
    """Clients that ask one request after the other, and what they got."""

    answers: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@contextmanager
def load(inside: Namespace, *, clients: int = 3) -> Iterator[Load]:
    """Ask through the VIP for as long as the context lasts."""
    result = Load()
    stop = threading.Event()
    guard = threading.Lock()

    def client() -> None:
        for _ in range(_REQUESTS_MAX // clients):
            if stop.is_set():
                return
            try:
                answer = http_member.fetch(inside, VIP, PLAIN_PORT)
                failure = "" if answer.status == 200 else f"status {answer.status}"
            except (OSError, HTTPException) as exc:
                failure = repr(exc)
            with guard:
                if failure:
                    result.failures.append(failure)
                else:
                    result.answers[answer.text] = result.answers.get(answer.text, 0) + 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()
