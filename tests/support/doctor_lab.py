# SPDX-License-Identifier: Apache-2.0
"""A controller, its neighbour and an amphora on a management network, all of them real.

The amphora runs the agent and the heartbeat sender, the controller the ear of Octavia's own health
manager. Each is a network namespace; a bridge in a fourth one is the network between them.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from amphora_agent.balancer.values import decode
from amphora_controller import cli, octavia_conf
from amphora_controller.certificates.store import Store
from amphora_controller.site import Site
from tests.functional.conftest import Place
from tests.support import heartbeats, waiting
from tests.support.netns import Namespace, namespace, run
from tests.support.octavia_driver import interpreter
from tests.support.pki import Pki

_REPOSITORY = Path(__file__).resolve().parents[2]
BRIDGE = "br-mgmt"
INTERFACE = "o-hm0"
OWN = IPv4Interface("203.0.113.1/24")
NEIGHBOUR = IPv4Interface("203.0.113.2/24")
AMPHORA = IPv4Interface("203.0.113.10/24")
PORT = 5555
KEY = "key-of-heartbeats"
PASSPHRASE = "passphrase of the test"
_STOP_S = 30
_READY_S = 60

Row = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What doctor said."""

    status: int
    rows: Sequence[Row]

    def hops(self, outcome: str) -> list[str]:
        """Hops that something with an outcome was found at."""
        return [row["hop"] for row in self.rows if row["outcome"] == outcome]

    @property
    def failure(self) -> Row:
        """The only failure, with its advice; nothing else is failed or unknown."""
        wrong = [row for row in self.rows if row["outcome"] in ("FAILED", "unknown")]
        assert [row["outcome"] for row in wrong] == ["FAILED"], wrong
        assert wrong[0]["do"]
        assert self.status == 1
        return wrong[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """All of it; nothing is broken yet."""

    place: Place
    controller: Namespace
    neighbour: Namespace
    manager: subprocess.Popen[str]
    files: Store
    conf: Path

    @property
    def network(self) -> Namespace:
        """The one with the bridge."""
        return self.place.network

    def configure(self, *replacements: tuple[str, str], account: str | None = "") -> None:
        """Write octavia.conf, with pieces of its text replaced.

        Args:
            account: what [service_auth] has; None for what the site says.
        """
        site = _site(self.files.directory)
        ids = octavia_conf.stated_ids(site)
        text = octavia_conf.render(site, site.controllers[0], ids, "site")
        if account is not None:
            text = without_account(text, account)
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        self.conf.write_text(text)

    @contextmanager
    def sending(self, key: str = KEY, controllers: str = f"{OWN.ip}:{PORT}") -> Iterator[None]:
        """The amphora sends heartbeats, two a second; in quotes the key is taken as it is."""
        config = self.place.directory / "heartbeat.conf"
        config.write_text(
            f"[haproxy_amphora]\nbase_path = {self.place.base}\n"
            f"[health_manager]\ncontroller_ip_port_list = {controllers}\n"
            f'heartbeat_interval = 0.5\nheartbeat_key = "{key}"\n'
            f"[amphora_agent]\namphora_id = {self.place.amphora_id}\n"
        )
        process = subprocess.Popen(
            self.place.outer.command(
                *(sys.executable, "-m", "amphora_agent.heartbeat_sender"),
                *("--config-file", str(config)),
            ),
            cwd=_REPOSITORY,
            env={**os.environ, "RUNTIME_DIRECTORY": str(runtime(self.place))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            end(process)
            (runtime(self.place) / "status.json").unlink(missing_ok=True)

    def doctor(
        self,
        capsys: pytest.CaptureFixture[str],
        *arguments: str,
        amphora: str = str(AMPHORA.ip),
    ) -> Report:
        """Run the command on the controller."""
        words = ["doctor", "--octavia-conf", str(self.conf), "--json", *arguments]
        with self.controller.entered():
            status = cli.main([*words, *(("--amphora", amphora) if amphora else ())])
        return report(status, capsys.readouterr().out)


def doctor_by(inside: Namespace, conf: Path, *arguments: str, through: Sequence[str]) -> Report:
    """Run the command as a process of its own.

    Args:
        through: a program, and its options, that starts it.
    """
    program = str(Path(sys.executable).with_name("amphoractl"))
    done = subprocess.run(
        inside.command(
            *through, program, "doctor", "--octavia-conf", str(conf), "--json", *arguments
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr, done.stderr
    return report(done.returncode, done.stdout)


def wrong_clock(by: str) -> list[str]:
    """What starts a program whose clock is wrong, such as by `+1h`."""
    return ["faketime", "--exclude-monotonic", "-f", by]


def without_account(text: str, account: str = "") -> str:
    """An octavia.conf with other lines, or none, in its [service_auth]."""
    return re.sub(r"(\[service_auth\]\n)(?:.+\n)+", rf"\g<1>{account}", text)


def report(status: int, output: str) -> Report:
    """What the command printed for programs."""
    document: dict[str, Any] = json.loads(output)
    assert document["status"] == status
    return Report(status=status, rows=document["hops"])


def runtime(place: Place) -> Path:
    """What is /run/amphora-heartbeat in the amphora."""
    return place.directory / "run/amphora-heartbeat"


def end(process: subprocess.Popen[Any]) -> None:
    """End a process."""
    process.terminate()
    process.wait(timeout=_STOP_S)


@contextmanager
def lab(place: Place, directory: Path) -> Iterator[Lab]:
    """The whole lab; nothing of it is left."""
    with ExitStack() as stack:
        controller = stack.enter_context(namespace("controller"))
        neighbour = stack.enter_context(namespace("neighbour"))
        place.network.ip("link", "add", BRIDGE, "type", "bridge")
        place.network.ip("link", "set", BRIDGE, "up")
        for inside, name, address in (
            (controller, INTERFACE, OWN),
            (neighbour, INTERFACE, NEIGHBOUR),
            (place.outer, "mgmt0", AMPHORA),
        ):
            plug(place.network, inside, name, address)
        agent = place.start()
        stack.callback(end, agent)
        place.await_answer()
        _give_runtime(place, agent.pid)
        files = Store(directory=directory)
        write_certificates(files, place.pki)
        manager = stack.enter_context(health_manager(controller))
        stack.enter_context(heartbeats.listener(neighbour, NEIGHBOUR.ip))
        made = Lab(
            place=place,
            controller=controller,
            neighbour=neighbour,
            manager=manager,
            files=files,
            conf=directory / "octavia.conf",
        )
        made.configure()
        yield made
    assert "Traceback" not in place.log.read_text()


def plug(bridge: Namespace, inside: Namespace, name: str, address: IPv4Interface) -> None:
    """Give a namespace an interface on the management network."""
    port = f"p{address.ip.packed[-1]}"
    bridge.ip(
        *("link", "add", port, "type", "veth"),
        *("peer", "name", name, "netns", inside.name),
    )
    bridge.ip("link", "set", port, "master", BRIDGE, "up")
    inside.add_address(name, address)
    inside.ip("link", "set", name, "up")


@contextmanager
def health_manager(
    inside: Namespace, address: str = str(OWN.ip), key: str = KEY
) -> Iterator[subprocess.Popen[str]]:
    """Octavia's own; it is ready."""
    with subprocess.Popen(
        inside.command(
            *(interpreter(), "-m", "tests.support.octavia_health_manager"),
            *(address, str(PORT), key),
        ),
        cwd=_REPOSITORY,
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            end(process)


def write_certificates(files: Store, pki: Pki) -> None:
    """What `amphoractl certs create` leaves for Octavia's services."""
    signer = pki.server.intermediate
    key = signer.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )
    files.write(
        {
            files.server_certificate: signer.pem(),
            files.server_key: key,
            files.server_chain: pki.server_chain.read_bytes(),
            files.client_chain: pki.client_chain.read_bytes(),
            files.client_bundle: pki.controller.read_bytes(),
        }
    )


def site_document(certificates: Path) -> dict[str, Any]:
    """The site of this lab, as its file holds it."""
    return {
        "controllers": [
            {"name": "one", "management_ip": str(OWN.ip)},
            {"name": "two", "management_ip": str(NEIGHBOUR.ip)},
        ],
        "database": {"host": "db", "password": "p@ss"},
        "messaging": {"hosts": ["mq:5672"], "password": "p@ss"},
        "keystone": {"auth_url": "http://127.0.0.1:5000", "password": "secret"},
        "management": {
            "networks": ["552f64af-c7e6-4353-a404-de53fe2fd7f3"],
            "security_groups": ["93b4ace2-00fe-4f64-893d-9f7a1d5c1b54"],
        },
        "amphora": {"flavor": "f1"},
        "health": {"heartbeat_key": KEY},
        "certificates": {
            "directory": str(certificates),
            "ca_passphrase": PASSPHRASE,
            "storage_keys": ["k" * 32],
        },
    }


def _site(certificates: Path) -> Site:
    return msgspec.convert(site_document(certificates), Site, dec_hook=decode)


def _give_runtime(place: Place, agent: int) -> None:
    """Let the agent find the sender's status where it is in an amphora; nobody else sees it."""
    run_directory = place.directory / "run"
    runtime(place).mkdir(parents=True)
    (run_directory / "netns").mkdir()
    run(
        *("nsenter", "--mount", f"--target={agent}", "sh", "-ec"),
        f"mount --rbind /run/netns {run_directory}/netns && mount --rbind {run_directory} /run",
    )


def await_heartbeat(manager: subprocess.Popen[str]) -> str:
    """The next thing that the health manager says."""
    assert manager.stdout is not None
    return waiting.until(
        "a heartbeat", manager.stdout.readline, deadline_s=_READY_S, every_s=0.1
    ).strip()
