# SPDX-License-Identifier: Apache-2.0
"""The health manager's interface, as far as it is text: unit, rules, what programs print."""

import dataclasses
import json
import shutil
import subprocess
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.hostnet import files, observed
from amphora_controller.hostnet.interface import Command, HostInterface, bridge_name, tap_name, up
from amphora_controller.site_host import Plug
from amphora_controller.units import parse_state
from tests.support import need
from tests.support.sites import loaded
from tests.support.units import commands

PORT_ID = "3b5b0f5e-8a1c-4b8a-9c1a-2f1d0c5c4e11"
NETWORK_ID = "6e2c1b64-5f8e-4ad0-8d2b-0a4f3e0c7b11"
RULES = "/etc/octavia/amphora-host-interface.nft"
PROGRAMS = ("ip", "nft", "ovs-vsctl", "sysctl")
# Of Linux 6.1 with iproute2 6.1, less fields that nobody reads.
LINKS = [
    {
        "ifname": "o-hm0",
        "link": "tap3b5b0f5e-8a",
        "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
        "mtu": 1442,
        "operstate": "UP",
        "address": "fa:16:3e:5a:00:11",
        "addr_info": [
            {"family": "inet", "local": "192.0.2.11", "prefixlen": 24, "scope": "global"},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
        ],
    },
    {
        "ifname": "tap3b5b0f5e-8a",
        "link": "o-hm0",
        "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
        "mtu": 1442,
        "master": "brq6e2c1b64-5f",
        "address": "0a:00:00:00:00:01",
        "addr_info": [],
    },
    {"ifname": "tunnel", "flags": ["NOARP"], "mtu": 1480, "addr_info": [{}]},
]


def interface(plug: Plug = Plug.OVS) -> HostInterface:
    """What is wanted."""
    return HostInterface(
        name="o-hm0",
        plug=plug,
        bridge=bridge_name(plug, NETWORK_ID),
        port_id=PORT_ID,
        mac="fa:16:3e:5a:00:11",
        tap=tap_name(PORT_ID),
        address=ip_interface("192.0.2.11/24"),
        mtu=1442,
    )


# The unit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the host's targets and a file for each program."""
    need.programs("systemd-analyze")
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        shutil.copy(target, system)
    for program in PROGRAMS:
        for directory in ("usr/bin", "usr/sbin"):
            file = tmp_path / directory / program
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o755)
    return tmp_path


def verify(root: Path, text: str) -> list[str]:
    """What systemd says about the unit."""
    (root / "usr/lib/systemd/system" / files.UNIT).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", files.UNIT],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return [line for line in done.stderr.splitlines() if files.UNIT.partition(".")[0] in line]


@pytest.mark.parametrize("plug", Plug)
def test_unit_is_understood_by_systemd(root: Path, plug: Plug) -> None:
    """systemd has nothing to say about the unit of any kind of plug."""
    assert verify(root, files.unit(interface(plug), RULES)) == []


def test_unit_with_a_mistake_is_noticed(root: Path) -> None:
    """A setting that systemd does not know is told."""
    text = files.unit(interface(), RULES).replace("RestartSec=", "RestartSeconds=")
    assert any("RestartSeconds" in line for line in verify(root, text))


@pytest.mark.parametrize("plug", Plug)
def test_unit_runs_the_commands(plug: Plug) -> None:
    """The unit's start is the commands of the interface in their order, and nothing else."""
    wanted = [files.exec_line(command) for command in up(interface(plug), RULES)]
    assert commands(files.unit(interface(plug), RULES)) == wanted
    assert wanted[0] == f"nft -f {RULES}"


def test_unit_has_no_dhcp_and_no_sleep() -> None:
    """Nothing asks for an address, sets a route, or waits for a fixed time."""
    for plug in Plug:
        text = files.unit(interface(plug), RULES)
        for word in ("dhc", "route", "sleep", "resolv"):
            assert word not in text


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("ip", "link"), "ip link"),
        (("set", 'mac="fa:16"'), "set 'mac=\"fa:16\"'"),
        (("a%b", "$HOME"), "'a%%b' '$$HOME'"),
        (("it's", "a\\b"), "'it\\'s' 'a\\\\b'"),
        (("two words", ""), "'two words' ''"),
    ],
)
def test_words_of_a_command_stay_whole(argv: tuple[str, ...], line: str) -> None:
    """What systemd gives a meaning to is escaped."""
    assert files.exec_line(Command(argv=argv)) == line
    assert files.exec_line(Command(argv=argv, may_fail=True)) == f"-{line}"


def test_rules_open_the_ports_of_logs_only_where_there_are_logs() -> None:
    """Without logs the health manager's port is the only one; the protocol is that of the site."""
    plain = files.rules("o-hm0", heartbeat_port=5555)
    assert [line.strip() for line in plain.splitlines() if "dport" in line] == [
        "udp dport 5555 accept"
    ]
    logs = files.rules("o-hm0", heartbeat_port=5555, log_ports=[10514], log_protocol="tcp")
    assert "tcp dport 10514 accept" in logs


# What programs print


def test_links_are_read() -> None:
    """Addresses but for link-local ones, the bridge and the other end are told."""
    found = observed.links(json.dumps(LINKS[:2]))
    link = found["o-hm0"]
    assert link.addresses == (ip_interface("192.0.2.11/24"),)
    assert (link.mac, link.mtu, link.is_up, link.peer) == (
        "fa:16:3e:5a:00:11",
        1442,
        True,
        "tap3b5b0f5e-8a",
    )
    assert found["tap3b5b0f5e-8a"].master == "brq6e2c1b64-5f"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "Device does not exist", json.dumps(LINKS[2:])])
def test_other_output_of_ip_is_told(text: str) -> None:
    """What is no list of interfaces is an error that names ip."""
    with pytest.raises(ControllerError, match="ip printed"):
        observed.links(text)


def test_external_ids_are_read() -> None:
    """The ids of an interface, or none where there is no interface."""
    head = '"headings":["external_ids"]}'
    assert observed.ovs_external_ids('{"data":[],' + head) is None
    row = '{"data":[[["map",[["iface-id","x"],["skip_cleanup","true"]]]]],' + head
    assert observed.ovs_external_ids(row) == {"iface-id": "x", "skip_cleanup": "true"}
    for text in ("", "[]", '{"data":[["x"]]}'):
        with pytest.raises(ControllerError, match="ovs-vsctl printed"):
            observed.ovs_external_ids(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mac": "fa:16:3e:00:00:00"}, "MAC fa:16:3e:5a:00:11, not fa:16:3e:00:00:00"),
        ({"mtu": 1400}, "MTU 1442, not 1400"),
        ({"address": ip_interface("192.0.2.12/24")}, "without 192.0.2.12/24"),
        ({"bridge": "brq-other"}, "tap3b5b0f5e-8a is no port of brq-other"),
        ({"name": "o-hm1"}, "there is no interface o-hm1"),
    ],
)
def test_each_difference_is_told(changes: dict[str, Any], words: str) -> None:
    """Whatever is not as wanted is told alone; when all is, nothing is."""
    found = observed.links(json.dumps(LINKS[:2]))
    wanted = interface(Plug.LINUXBRIDGE)
    assert list(observed.differences(wanted, found, None)) == []
    assert list(observed.differences(dataclasses.replace(wanted, **changes), found, None)) == [
        words
    ]


def test_state_of_a_unit_is_read() -> None:
    """systemd's properties tell since when a unit is up, on the wall clock."""
    printed = (
        "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nNeedDaemonReload=no\n"
        "ActiveEnterTimestampMonotonic=5000000\n"
    )
    state = parse_state(printed, now_s=1000.0, monotonic_s=65.0)
    assert state.since_s == pytest.approx(940.0)
    assert (state.is_there, state.is_enabled, state.is_stale) == (True, True, False)


@pytest.mark.parametrize(
    ("printed", "is_there", "is_masked"),
    [
        ("LoadState=not-found\nActiveState=inactive\n", False, False),
        ("LoadState=masked\nUnitFileState=masked\nActiveState=inactive\n", True, True),
        ("", False, False),
    ],
)
def test_unit_that_is_not_up_has_no_time(printed: str, is_there: bool, is_masked: bool) -> None:
    """A unit that is missing, masked or stopped is not active, and not enabled."""
    state = parse_state(printed, now_s=1000.0, monotonic_s=65.0)
    assert (state.is_there, state.is_masked) == (is_there, is_masked)
    assert not state.is_active
    assert not state.is_enabled


# The site


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": {"interface": "o hm0"}}, "host.interface: Expected `str` matching"),
        ({"host": {"interface": "a-name-of-16-byt"}}, "host.interface: Expected `str` matching"),
        ({"host": {"plug": "dpdk"}}, "host.plug: Invalid enum value 'dpdk'"),
        ({"host": {"mtu": 1279}}, "host.mtu: Expected `int` >= 1280"),
        ({"host": {"ovs_database": "unix:/x; reboot"}}, "host.ovs_database: Expected `str` match"),
    ],
)
def test_fault_of_the_site_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """A wrong value of the host's part is told with its place."""
    with pytest.raises(ControllerError) as caught:
        loaded(tmp_path, **changes)
    assert words in caught.value.hint
