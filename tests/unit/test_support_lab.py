# SPDX-License-Identifier: Apache-2.0
"""The networks of the image test, and QEMU in them."""

import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from tests.support import heartbeats, lab, need, netns
from tests.support.accelerator import Accelerator
from tests.support.http_member import fetch, http_member
from tests.support.lab import Lab
from tests.support.netns import LeftoverError, Namespace, namespace
from tests.support.qemu import MachineSpec, Nic, machine
from tests.support.qmp import QmpError
from tests.support.waiting import DeadlinePassedError, until

pytestmark = pytest.mark.netns

NIC = Nic(tap=lab.MGMT_TAP, mac="fa:16:3e:00:00:01", mtu=1450)


@pytest.fixture(autouse=True)
def tools() -> None:
    need.root()
    need.programs("ip")


@pytest.fixture
def inside() -> Iterator[Namespace]:
    with namespace("unit") as made:
        yield made


def names() -> set[str]:
    """Names of the namespaces on this host."""
    return {line.split()[0] for line in netns.run("ip", "netns", "list").splitlines()}


def test_sockets_opened_inside_stay_inside(inside: Namespace) -> None:
    """A socket bound inside leaves the same port free outside, and the thread is back outside."""
    home = Path("/proc/thread-self/ns/net").readlink()
    with inside.entered(), socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        port = there.getsockname()[1]
        assert Path("/proc/thread-self/ns/net").readlink() != home
    assert Path("/proc/thread-self/ns/net").readlink() == home
    with inside.entered(), socket.socket() as there, socket.socket() as here:
        there.bind(("127.0.0.1", port))
        here.bind(("127.0.0.1", 0))  # the namespace has its own ports


def test_bridge_keeps_its_address_as_ports_come_and_go(inside: Namespace) -> None:
    """Its MAC is the one that neighbours have learned, however low that of another port is."""
    inside.add_bridge("bridge0", IPv4Interface("192.0.2.1/24"))
    command = inside.command("cat", "/sys/class/net/bridge0/address")
    before = netns.run(*command)
    inside.add_nic("nic0", mac="fa:16:3e:00:00:01", mtu=1450, bridge="bridge0")
    inside.ip("link", "set", "p-nic0", "nomaster", "address", "00:00:5e:00:53:01")
    inside.ip("link", "set", "p-nic0", "master", "bridge0")
    assert netns.run(*command) == before
    inside.remove_nic("nic0")
    assert netns.run(*command) == before


def test_namespace_is_gone_afterwards() -> None:
    """A namespace is removed at the end, also when the test in it fails."""
    seen: list[str] = []

    def fail() -> None:
        with namespace("unit") as made:
            seen.extend({made.name} & names())
            raise RuntimeError("from the test")

    with pytest.raises(RuntimeError, match="from the test"):
        fail()
    assert len(seen) == 1
    assert not names().intersection(seen)


def test_process_left_inside_is_an_error() -> None:
    """A process that outlives its test is ended, and the test fails with its name."""
    left: list[subprocess.Popen[bytes]] = []
    seen: list[str] = []

    def forget() -> None:
        with namespace("unit") as made:
            seen.append(made.name)
            left.append(subprocess.Popen(made.command("sleep", "60")))
            until("sleep inside", lambda: made.pids() or None, deadline_s=5, every_s=0.05)

    with pytest.raises(LeftoverError, match="sleep 60"):
        forget()
    assert left[0].wait(timeout=5) == -9
    assert not names().intersection(seen)


def test_members_answer_with_their_names(inside: Namespace) -> None:
    """Two members on two addresses are told apart; where there is none, nobody answers."""
    addresses = [IPv4Address("127.0.0.11"), IPv4Address("127.0.0.12")]
    with http_member(inside, "a", addresses[0]), http_member(inside, "b", addresses[1]):
        assert [fetch(inside, address, 80).text for address in addresses] == ["a", "b"]
    with pytest.raises(ConnectionRefusedError):
        fetch(inside, addresses[0], 80)


def test_datagrams_are_kept_with_their_arrival(inside: Namespace) -> None:
    """Two datagrams are kept in order, with times between their sending and now."""
    address = IPv4Address("127.0.0.1")
    with heartbeats.listener(inside, address) as ear:
        with pytest.raises(DeadlinePassedError, match="heartbeat number 1"):
            ear.wait_for(1, deadline_s=0.3)
        sent = time.monotonic()
        with inside.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(b"one", (str(address), heartbeats.PORT))
            mouth.sendto(b"two", (str(address), heartbeats.PORT))
        received = ear.wait_for(2, deadline_s=10)
    assert [item.payload for item in received] == [b"one", b"two"]
    assert sent <= received[0].arrived <= received[1].arrived <= time.monotonic()


@pytest.fixture
def networks() -> Iterator[Lab]:
    with lab.lab() as built:
        yield built


@pytest.fixture
def empty_disk(tmp_path: Path) -> Path:
    """A disk without a system: the BIOS says that it cannot boot, and waits."""
    need.programs("qemu-system-x86_64", "qemu-img")
    path = tmp_path / "empty.qcow2"
    netns.run("qemu-img", "create", "-q", "-f", "qcow2", str(path), "16M")
    return path


def spec(image: Path, directory: Path) -> MachineSpec:
    return MachineSpec(
        image=image, directory=directory, accelerator=Accelerator.TCG, nics=(NIC,), memory_mb=64
    )


def carrier(networks: Lab, tap: str) -> str:
    """Whether somebody holds a tap open: "1" or "0"."""
    path = f"/sys/class/net/{tap}/carrier"
    return netns.run(*networks.namespace.command("cat", path)).strip()


def test_machine_opens_its_taps_as_they_are_plugged(
    networks: Lab, empty_disk: Path, tmp_path: Path
) -> None:
    """The VIP's tap has no carrier until its NIC is hot-plugged; a second plug is refused."""
    nic = Nic(tap=lab.VIP_TAP, mac="fa:16:3e:00:00:02", mtu=1450)
    with machine(spec(empty_disk, tmp_path), networks.namespace) as started:
        assert carrier(networks, lab.MGMT_TAP) == "1"
        assert carrier(networks, lab.VIP_TAP) == "0"
        started.plug(nic)
        assert carrier(networks, lab.VIP_TAP) == "1"
        with pytest.raises(QmpError, match="netdev_add"):
            started.plug(nic)
    assert not started.running


def test_machine_leaves_its_image_untouched(
    networks: Lab, empty_disk: Path, tmp_path: Path
) -> None:
    """The image has the same bytes and time stamp after a machine ran on it."""
    before = (empty_disk.read_bytes(), empty_disk.stat().st_mtime_ns)
    with machine(spec(empty_disk, tmp_path), networks.namespace):
        pass
    assert (empty_disk.read_bytes(), empty_disk.stat().st_mtime_ns) == before


def test_config_drive_goes_into_the_tray_of_a_running_machine(
    networks: Lab, empty_disk: Path, tmp_path: Path
) -> None:
    """A medium that exists is inserted; one that does not is refused by QEMU, not ignored."""
    iso = tmp_path / "drive.iso"
    iso.write_bytes(b"\0" * 2048 * 20)
    with machine(spec(empty_disk, tmp_path), networks.namespace) as started:
        started.insert_config_drive(iso)
        with pytest.raises(QmpError, match="No such file"):
            started.insert_config_drive(tmp_path / "absent.iso")


def test_machine_that_cannot_start_says_why(
    networks: Lab, empty_disk: Path, tmp_path: Path
) -> None:
    """Two NICs on one tap end QEMU at once, and the error holds its own words."""
    broken = MachineSpec(
        image=empty_disk,
        directory=tmp_path,
        accelerator=Accelerator.TCG,
        nics=(NIC, NIC),
    )
    with (
        pytest.raises(RuntimeError, match=r"QEMU ended with status 1: .* Duplicate ID"),
        machine(broken, networks.namespace),
    ):
        pass


def test_killed_machine_is_no_longer_running(
    networks: Lab, empty_disk: Path, tmp_path: Path
) -> None:
    """Pulling the plug ends the process at once."""
    with machine(spec(empty_disk, tmp_path), networks.namespace) as started:
        lived = started.running
        started.kill()
        assert (lived, started.running) == (True, False)
        assert networks.namespace.pids() == []


def test_address_of_a_member_is_on_the_vip_network(networks: Lab) -> None:
    """An address for a member answers inside the namespace, beside the gateway's."""
    address = networks.add_member_address(11)
    assert IPv4Interface(f"{address}/24").network == lab.VIP
    with http_member(networks.namespace, "member", address):
        assert fetch(networks.namespace, address, 80).text == "member"
