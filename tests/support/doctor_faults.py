# SPDX-License-Identifier: Apache-2.0
"""Faults between a controller and an amphora, and what doctor must make of each of them."""

import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from markupsafe import escape

from amphora_agent.heartbeat import message
from amphora_controller.certificates.store import Store
from tests.support import doctor_lab, heartbeat_samples, pki
from tests.support.doctor_lab import AMPHORA, INTERFACE, KEY, NEIGHBOUR, OWN, PORT, Lab
from tests.support.netns import run

A = str(AMPHORA.ip)
HERE = f"{OWN.ip}:{PORT}"
THERE = f"{NEIGHBOUR.ip}:{PORT}"
# Of a controller's list; the rest of a line in octavia.conf.
_LIST = f"controller_ip_port_list = {HERE}, {THERE}"
OTHER_API_PORT = ("server_ca = ", "bind_port = 9444\nserver_ca = ")
STRANGE_KEY = """a<b>&c'd-$f"""
STRANGE_KEY_WRITTEN = STRANGE_KEY.replace("$", "$$")
_ESCAPED_KEY = str(escape(STRANGE_KEY))

Make = Callable[[Lab, Path], AbstractContextManager[tuple[str, ...]]]
"""Breaks a lab, and gives more arguments for the command; what was broken is whole afterwards."""


@contextmanager
def _interface_down(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    lab.controller.ip("link", "set", INTERFACE, "down")
    try:
        yield ()
    finally:
        lab.controller.ip("link", "set", INTERFACE, "up")


@contextmanager
def _no_carrier(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    lab.network.ip("link", "set", "p1", "down")
    try:
        yield ()
    finally:
        lab.network.ip("link", "set", "p1", "up")


@contextmanager
def _other_address(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    lab.controller.ip("address", "del", str(OWN), "dev", INTERFACE)
    lab.controller.ip("address", "add", "203.0.113.5/24", "dev", INTERFACE)
    try:
        with lab.sending():
            yield ()
    finally:
        lab.controller.ip("address", "del", "203.0.113.5/24", "dev", INTERFACE)
        lab.controller.ip("address", "add", str(OWN), "dev", INTERFACE)


@contextmanager
def _amphora_elsewhere(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    with lab.sending():
        yield ("--amphora", "198.18.0.1")


@contextmanager
def _nobody_there(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    with lab.sending():
        yield ("--amphora", "203.0.113.77")


@contextmanager
def dropped(lab: Lab, what: str) -> Iterator[None]:
    """The bridge drops some packets."""
    table = (
        "add table bridge lost; add chain bridge lost c { type filter hook forward priority 0; }"
    )
    run(*lab.network.command("nft", f"{table}; add rule bridge lost c {what} drop"))
    try:
        yield
    finally:
        run(*lab.network.command("nft", "delete table bridge lost"))


@contextmanager
def _port_filtered(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    with dropped(lab, "tcp dport 9443"), lab.sending():
        yield ()


def _configured(*replacements: tuple[str, str]) -> Make:
    """Another octavia.conf."""

    @contextmanager
    def make(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
        lab.configure(*replacements)
        with lab.sending():
            yield ()

    return make


def _sent(key: str = KEY, controllers: str = HERE) -> Make:
    """Heartbeats that are not as they should be."""

    @contextmanager
    def make(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
        with lab.sending(key, controllers):
            yield ()

    return make


@contextmanager
def _other_server_authority(lab: Lab, directory: Path) -> Iterator[tuple[str, ...]]:
    with _other_files(lab, directory, "server"), lab.sending():
        yield ()


@contextmanager
def _other_client_authority(lab: Lab, directory: Path) -> Iterator[tuple[str, ...]]:
    with _other_files(lab, directory, "client"), lab.sending():
        yield ()


@contextmanager
def _other_files(lab: Lab, directory: Path, name: str) -> Iterator[None]:
    """Files of another deployment, in themselves sound, in place of some of this one's."""
    other = Store(directory=directory / "other")
    (directory / "pki").mkdir()
    doctor_lab.write_certificates(other, pki.create(directory / "pki"))
    before = {path: path.read_bytes() for path in lab.files.services if name in path.name}
    for path in before:
        shutil.copyfile(other.directory / path.name, path)
    try:
        yield
    finally:
        lab.files.write(before)


@contextmanager
def _key_of_another_bundle(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    path = lab.files.client_bundle
    before = path.read_bytes()
    stranger = lab.place.pki.stranger.read_bytes()
    begin = b"-----BEGIN CERTIFICATE"
    lab.files.write({path: stranger.partition(begin)[0] + begin + before.partition(begin)[2]})
    try:
        with lab.sending():
            yield ()
    finally:
        lab.files.write({path: before})


@contextmanager
def _other_amphora(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    with lab.sending():
        yield ("--amphora", f"{A}={uuid.uuid4()}")


@contextmanager
def _manager_hangs(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    lab.manager.send_signal(signal.SIGSTOP)
    try:
        with lab.sending():
            time.sleep(1)
            yield ()
    finally:
        lab.manager.send_signal(signal.SIGCONT)


@contextmanager
def _somebody_else_has_the_port(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    lab.configure((HERE, f"{OWN.ip}:5557"), ("bind_port = 5555", "bind_port = 5557"))
    with lab.controller.entered():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind((str(OWN.ip), 5557))
    with other, lab.sending(controllers=f"{OWN.ip}:5557"):
        yield ()


@contextmanager
def _manager_does_not_run(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    lab.configure((HERE, f"{OWN.ip}:5557"), ("bind_port = 5555", "bind_port = 5557"))
    with lab.sending(controllers=f"{OWN.ip}:5557"):
        yield ()


def keyed(sent: str) -> Make:
    """The sender has something else in place of a key that has become another on the way."""

    @contextmanager
    def make(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
        lab.configure((f"heartbeat_key = {KEY}", f"heartbeat_key = {STRANGE_KEY_WRITTEN}"))
        with lab.sending(sent):
            yield ()

    return make


@contextmanager
def _heartbeats_lost(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    with dropped(lab, f"udp dport {PORT}"), lab.sending():
        yield ()


@contextmanager
def _no_heartbeats(_lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    yield ()


@contextmanager
def _fragments_lost(lab: Lab, _: Path) -> Iterator[tuple[str, ...]]:
    """Of a heartbeat that needs two packets the bridge lets only the first through."""
    large = heartbeat_samples.large_message(listeners=1, pools=1, members=80)
    datagram = message.encode(large, key=KEY)
    assert 1500 < len(datagram) < 2900
    with lab.place.outer.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    timer = threading.Timer(2, sender.sendto, (datagram, (str(OWN.ip), PORT)))
    with sender, dropped(lab, "ip frag-off & 0x1fff != 0"):
        timer.start()
        try:
            yield ()
        finally:
            timer.join()


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A fault.

    Attributes:
        hop: that must be named, and no other.
        words: in what is said of it.
    """

    make: Make
    hop: str
    words: str


BROKEN = {
    "o-hm0 is down": Broken(make=_interface_down, hop="interface", words="o-hm0 is down"),
    "o-hm0 has no carrier": Broken(make=_no_carrier, hop="interface", words="no carrier"),
    "o-hm0 has another address": Broken(
        make=_other_address, hop="interface", words="not bind_ip 203.0.113.1"
    ),
    "no route": Broken(
        make=_amphora_elsewhere, hop="198.18.0.1 route", words="no route to 198.18.0.1"
    ),
    "nobody has the address": Broken(
        make=_nobody_there, hop="203.0.113.77 TCP", words="no way to 203.0.113.77"
    ),
    "9443 is filtered": Broken(make=_port_filtered, hop=f"{A} TCP", words="no answer from"),
    "9443 is refused": Broken(
        make=_configured(OTHER_API_PORT),
        hop=f"{A} TCP",
        words="refuses connections",
    ),
    "another authority signs amphorae": Broken(
        make=_other_server_authority,
        hop=f"{A} amphora's certificate",
        words="certificate is refused",
    ),
    "the amphora trusts another authority": Broken(
        make=_other_client_authority,
        hop=f"{A} controller's certificate",
        words="does not know the authority",
    ),
    "a key that is not the certificate's": Broken(
        make=_key_of_another_bundle, hop="certificates", words="is not that of the certificate"
    ),
    "another amphora": Broken(
        make=_other_amphora, hop=f"{A} amphora's certificate", words="it names"
    ),
    "the other controller listens elsewhere": Broken(
        make=_configured((THERE, f"{NEIGHBOUR.ip}:5556")),
        hop=f"health manager {NEIGHBOUR.ip}:5556",
        words="the port is closed",
    ),
    "the other controller is not there": Broken(
        make=_configured((THERE, "203.0.113.3:5555")),
        hop="health manager 203.0.113.3:5555",
        words="cannot be reached",
    ),
    "the health manager hangs": Broken(
        make=_manager_hangs, hop=f"health manager {HERE}", words="does not read"
    ),
    "somebody else has the port": Broken(
        make=_somebody_else_has_the_port,
        hop=f"health manager {OWN.ip}:5557",
        words="not to a health manager",
    ),
    "the health manager does not run": Broken(
        make=_manager_does_not_run,
        hop=f"health manager {OWN.ip}:5557",
        words="nobody listens there",
    ),
    "this controller is not in the list": Broken(
        make=_configured((_LIST, f"controller_ip_port_list = {THERE}")),
        hop="controllers",
        words=f"does not name this controller ({HERE})",
    ),
    "another heartbeat key": Broken(
        make=_sent(key="another-key"), hop=f"{A} heartbeats", words="signed with another key"
    ),
    "a key escaped for HTML": Broken(
        make=keyed(_ESCAPED_KEY), hop=f"{A} heartbeats", words="with the key escaped for HTML"
    ),
    "a key escaped for HTML twice": Broken(
        make=keyed(str(escape(_ESCAPED_KEY))),
        hop=f"{A} heartbeats",
        words="escaped for HTML twice",
    ),
    "a key with its dollars doubled": Broken(
        make=keyed(STRANGE_KEY_WRITTEN), hop=f"{A} heartbeats", words="`$$` not read as `$`"
    ),
    "heartbeats to another port": Broken(
        make=_sent(controllers=f"{OWN.ip}:5556"),
        hop=f"{A} heartbeats",
        words=f"they go to {OWN.ip}:5556",
    ),
    "heartbeats to another address": Broken(
        make=_sent(controllers=THERE),
        hop=f"{A} heartbeats",
        words=f"sends them to {THERE}, not to {HERE}",
    ),
    "heartbeats get lost": Broken(
        make=_heartbeats_lost, hop=f"{A} heartbeats", words="get lost on the way"
    ),
    "fragments get lost": Broken(
        make=_fragments_lost, hop=f"{A} heartbeats", words="1 came in part"
    ),
    "no heartbeats": Broken(
        make=_no_heartbeats, hop=f"{A} heartbeats", words="says that none leaves it"
    ),
    "no flavor in octavia.conf": Broken(
        make=_configured(("amp_flavor_id = f1\n", "")),
        hop="octavia.conf",
        words="amp_flavor_id is not set",
    ),
    "an unescaped password": Broken(
        make=_configured(("p%40ss@db", "p@ss@db")),
        hop="octavia.conf",
        words="the password holds an @",
    ),
    "a dollar in a password": Broken(
        make=_configured(("ca_private_key_passphrase = ", "ca_private_key_passphrase = $nothing")),
        hop="octavia.conf",
        words="[certificates] ca_private_key_passphrase holds a `$`",
    ),
}
