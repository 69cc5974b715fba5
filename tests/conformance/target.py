# SPDX-License-Identifier: Apache-2.0
"""The agent under test, wherever it runs: where it answers, who may ask, what can be looked at."""

import base64
import http.client
import json
import shlex
import socket
import ssl
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path, PurePosixPath
from typing import Protocol

import pytest

from tests.functional.haproxy_configs import listener_config
from tests.support import waiting
from tests.support.mutual_tls import Answer
from tests.support.netns import Namespace
from tests.support.ssh import Shell

LB = "33333333-0000-4000-8000-000000000001"
LISTENER = "33333333-0000-4000-8000-000000000002"
FIELD_LISTENER = "836053f0-ea72-46ae-9fae-8b80153ef593"
UNKNOWN = "33333333-0000-4000-8000-00000000000f"

# Where things are in an image.
_BASE = PurePosixPath("/var/lib/octavia")
_CERTS = _BASE / "certs"
_SERVER_PEM = PurePosixPath("/etc/octavia/certs/server.pem")
_CONFIG_FILE = PurePosixPath("/etc/octavia/amphora-agent.conf")

_DEADLINE_S = 30
_REWRITE_DEADLINE_S = 2


class Files(Protocol):
    """Files of the amphora, seen as root."""

    def read(self, path: PurePosixPath) -> bytes | None:
        """Content of a file; None when there is none."""

    def write(self, path: PurePosixPath, content: bytes) -> None:
        """Put a file where the agent did not; its directory is made."""

    def names(self, directory: PurePosixPath) -> set[str]:
        """Names in a directory; none when there is no such directory."""

    def mode(self, path: PurePosixPath) -> int:
        """Permission bits of a file."""


class LocalFiles:
    """Files of an agent that runs on this machine.

    Args:
        root: its root directory, if it runs in a container.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: PurePosixPath) -> bytes | None:
        """See Files."""
        try:
            return self._at(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, path: PurePosixPath, content: bytes) -> None:
        """See Files."""
        self._at(path).parent.mkdir(parents=True, exist_ok=True)
        self._at(path).write_bytes(content)

    def names(self, directory: PurePosixPath) -> set[str]:
        """See Files."""
        if not self._at(directory).is_dir():
            return set()
        return {entry.name for entry in self._at(directory).iterdir()}

    def mode(self, path: PurePosixPath) -> int:
        """See Files."""
        return self._at(path).stat().st_mode & 0o7777

    def _at(self, path: PurePosixPath) -> Path:
        return self._root / path.relative_to("/")


class RemoteFiles:
    """Files of an amphora that can be reached by ssh."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def read(self, path: PurePosixPath) -> bytes | None:
        """See Files."""
        name = shlex.quote(str(path))
        said = self._shell.run(f"if [ -e {name} ]; then echo there; base64 {name}; fi")
        return base64.b64decode(said.removeprefix("there")) if said else None

    def write(self, path: PurePosixPath, content: bytes) -> None:
        """See Files."""
        directory, name = shlex.quote(str(path.parent)), shlex.quote(str(path))
        self._shell.run(f"mkdir -p {directory} && cat > {name}", stdin=content)

    def names(self, directory: PurePosixPath) -> set[str]:
        """See Files."""
        name = shlex.quote(str(directory))
        return set(self._shell.run(f"[ ! -d {name} ] || ls -A {name}").split())

    def mode(self, path: PurePosixPath) -> int:
        """See Files."""
        return int(self._shell.run(f"stat --format=%a {shlex.quote(str(path))}"), 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nic:
    """A NIC that waits in the root namespace of the amphora, and the network that it leads to."""

    mac: str
    network: IPv4Network

    def address(self, host: int) -> IPv4Address:
        """An address of the network."""
        return self.network[host]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """An agent that answers.

    What a target does not have (None, False) makes the tests that need it skip.

    Attributes:
        inside: the namespace from which the agent can be reached at `address`.
        trust: CA certificates of amphorae.
        controller, stranger: keys and certificates of a controller, and of somebody whom another
            authority calls one.
        base, certs: base_path and base_cert_dir.
        server_pem, config_file: paths of server.pem and amphora-agent.conf.
        files: a look at the amphora's files.
        mint: makes another good server.pem.
        vip_nic, member_nic: NICs that may be plugged for good.
        keepalived: whether keepalived can be started there.
        ipvs: whether the kernel balances UDP there, in the namespace that controllers name.
    """

    inside: Namespace
    address: IPv4Address
    port: int = 9443
    amphora_id: uuid.UUID
    trust: Path
    controller: Path
    stranger: Path | None = None
    base: PurePosixPath = _BASE
    certs: PurePosixPath = _CERTS
    server_pem: PurePosixPath = _SERVER_PEM
    config_file: PurePosixPath = _CONFIG_FILE
    files: Files | None = None
    mint: Callable[[], bytes] | None = field(default=None, repr=False)
    vip_nic: Nic | None = None
    member_nic: Nic | None = None
    keepalived: bool = False
    ipvs: bool = False

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request of the controller on a connection of its own.

        Without `headers` there is no Content-Type, as controllers send raw bodies.
        """
        connection = http.client.HTTPConnection(str(self.address), self.port)
        with self.connect(identity=self.controller) as session:
            connection.sock = session
            connection.request(method, path, body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.getheaders()},
                body=response.read(),
                certificate=session.getpeercert(binary_form=True) or b"",
            )

    def ask_json(self, method: str, path: str, content: object) -> Answer:
        """One request of the controller with a JSON body."""
        headers = {"Content-Type": "application/json"}
        return self.ask(method, path, json.dumps(content).encode(), headers=headers)

    def connect(
        self,
        *,
        identity: Path | None,
        version: ssl.TLSVersion | None = None,
        server_name: str | None = None,
    ) -> ssl.SSLSocket:
        """A TLS session on which anything can be said.

        Args:
            identity: key and certificate of the client; None sends no certificate.
            version: the only TLS version that the client speaks; None leaves it the choice.
            server_name: SNI, which controllers do not send.

        Raises:
            OSError: no session came about; ssl.SSLError is one.
        """
        context = ssl.create_default_context(cafile=str(self.trust))
        context.check_hostname = False  # the name is in the certificate, and not the address
        if version is not None:
            # Distributions allow the versions before 1.2 at this security level only.
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
        if identity is not None:
            context.load_cert_chain(identity)
        plain = self.connect_plain()
        try:
            return context.wrap_socket(plain, server_hostname=server_name)
        except BaseException:
            plain.close()
            raise

    def connect_plain(self) -> socket.socket:
        """A TCP connection on which nothing was said yet."""
        with self.inside.entered():
            return socket.create_connection((str(self.address), self.port), timeout=_DEADLINE_S)

    def look(self) -> Files:
        """The amphora's files; the calling test is skipped where they cannot be seen."""
        if self.files is None:
            pytest.skip("the files of this target cannot be seen")
        return self.files

    def haproxy_path(self, lb_id: str = LB) -> str:
        """Path of an upload."""
        return f"/1.0/loadbalancer/{self.amphora_id}/{lb_id}/haproxy"

    def config(self, lb_id: str = LB, *, port: int = 80, extra: str = "") -> bytes:
        """A configuration of one listener that binds loopback; haproxy accepts it.

        Args:
            extra: more lines at the end.
        """
        text = listener_config(Path(self.base), lb_id, vip="127.0.0.1", ports={"one": 8081})
        return text.replace(b":80\n", b":%d\n" % port) + extra.encode()

    def running(self, lb_id: str = LB) -> list[str] | None:
        """Command line of the haproxy of a load balancer; None when it does not run."""
        files = self.look()
        path = self.base / lb_id / f"{lb_id}.pid"
        deadline = time.monotonic() + _REWRITE_DEADLINE_S
        # haproxy's master empties the file and writes it anew whenever it loads.
        while (pid := files.read(path)) == b"" and time.monotonic() < deadline:
            time.sleep(0.05)
        if not pid:
            return None
        line = files.read(PurePosixPath("/proc", pid.split()[0].decode(), "cmdline"))
        words = (line or b"").decode().split("\0")
        return words if any(lb_id in word for word in words) else None

    def await_answer(self) -> None:
        """Wait until the agent answers, as after a change of what it serves with."""

        def probe() -> bool | None:
            try:
                return self.ask("GET", "/").status == 200 or None
            except OSError:
                return None

        waiting.until("the agent to answer", probe, deadline_s=_DEADLINE_S, every_s=0.1)
