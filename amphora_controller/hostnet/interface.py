# SPDX-License-Identifier: Apache-2.0
"""An interface that a Neutron port stands for, and the commands that make it. Pure.

Every command can be repeated, so that the same ones serve the first run, each boot, and a restart
of Open vSwitch, which takes the address away.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from amphora_controller.site_host import Plug

Address = IPv4Interface | IPv6Interface

# Of nftables, in the family inet.
TABLE = "amphoractl"
# What Neutron's agents take for names (neutron-lib, constants TAP_DEVICE_PREFIX; the Linux bridge
# agent's BRIDGE_NAME_PREFIX): a prefix and the beginning of an id, within the kernel's 15 bytes.
_TAP_PREFIX = "tap"
_BRIDGE_PREFIX = "brq"
_ID_LENGTH = 11
_INTEGRATION_BRIDGE = "br-int"
# For the bridge to appear, in one start of the unit.
_BRIDGE_DEADLINE_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class HostInterface:
    """What is wanted.

    Attributes:
        port_id, mac: of the Neutron port.
        tap: name of the bridge's end, for a Linux bridge.
        mtu: bytes.
        ovs_database: as `ovs-vsctl --db` takes it, or None.
    """

    name: str
    plug: Plug
    bridge: str
    port_id: str
    mac: str
    tap: str
    address: Address
    mtu: int
    ovs_database: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A program with its arguments.

    Attributes:
        may_fail: it fails when what it does is done already, or does not apply.
    """

    argv: tuple[str, ...]
    may_fail: bool = False


def tap_name(port_id: str) -> str:
    """The name by which the Linux bridge agent knows the port of a device."""
    return f"{_TAP_PREFIX}{port_id[:_ID_LENGTH]}"


def bridge_name(plug: Plug, network_id: str) -> str:
    """Where Neutron's agent plugs the ports of a network."""
    if plug is Plug.LINUXBRIDGE:
        return f"{_BRIDGE_PREFIX}{network_id[:_ID_LENGTH]}"
    return _INTEGRATION_BRIDGE


def external_ids(interface: HostInterface) -> dict[str, str]:
    """By these Neutron's agent and ovn-controller know an interface of Open vSwitch.

    `skip_cleanup` keeps neutron-ovs-cleanup, which runs at boot, from removing it.
    """
    return {
        "iface-status": "active",
        "attached-mac": interface.mac,
        "iface-id": interface.port_id,
        "skip_cleanup": "true",
    }


def up(interface: HostInterface, rules: str) -> Iterator[Command]:
    """Bring the interface up; it is complete after the last command.

    The rules come first, so that nothing is ever reachable that should not be, and router
    advertisements are refused before any can arrive: the host's routes are its own.

    Args:
        rules: path of the file for nft.
    """
    yield load_rules(rules)
    if interface.plug is Plug.LINUXBRIDGE:
        yield from _veth(interface)
    else:
        yield _internal_port(interface)
    name = interface.name
    # Fails where the kernel has no IPv6.
    settings = (f"net/ipv6/conf/{name}/{key}=0" for key in ("accept_ra", "autoconf"))
    yield Command(argv=("sysctl", "--quiet", "--write", *settings), may_fail=True)
    yield Command(argv=("ip", "link", "set", "dev", name, "up"))
    # Neutron has made sure that nobody else has it.
    options = ("nodad",) if interface.address.version == 6 else ()
    yield Command(argv=("ip", "address", "replace", str(interface.address), "dev", name, *options))


def unplug(interface: HostInterface, *, is_in_ovs: bool) -> Command:
    """Remove the interface, with its address and its port of the bridge.

    Args:
        is_in_ovs: Open vSwitch has it, whatever it is to be.
    """
    if is_in_ovs:
        vsctl = _ovs_vsctl(interface.ovs_database)
        return Command(argv=(*vsctl, "--", "--if-exists", "del-port", interface.name))
    return Command(argv=("ip", "link", "delete", "dev", interface.name))


def load_rules(rules: str) -> Command:
    """Put the rules of a file into force."""
    return Command(argv=("nft", "-f", rules))


def remove_rules() -> Command:
    """Remove all rules."""
    return Command(argv=("nft", "delete", "table", "inet", TABLE))


def _veth(interface: HostInterface) -> Iterator[Command]:
    name, tap, mtu = interface.name, interface.tap, str(interface.mtu)
    # Fails when it is there. The agent waits for a device of the tap's name, makes the bridge of
    # its network if there is none yet, and tells Neutron that the port is up.
    yield Command(
        argv=("ip", "link", "add", "dev", name, "type", "veth", "peer", "name", tap), may_fail=True
    )
    yield Command(argv=("ip", "link", "set", "dev", name, "address", interface.mac, "mtu", mtu))
    yield Command(argv=("ip", "link", "set", "dev", tap, "mtu", mtu, "up"))
    yield Command(argv=("ip", "link", "set", "dev", tap, "master", interface.bridge))
    # The bridge hears what is asked of its port, and would answer with its own MAC: what comes that
    # way passes by the rules, and Neutron's port security refuses the answers.
    setting = f"net/ipv4/conf/{interface.bridge}/arp_ignore=1"
    yield Command(argv=("sysctl", "--quiet", "--write", setting))


def _internal_port(interface: HostInterface) -> Command:
    # Open vSwitch gives internal ports the smallest MTU of its bridge and a MAC of its own, unless
    # the database says otherwise (ovs-vswitchd.conf.db(5), mtu_request and mac). ovs-vsctl returns
    # when ovs-vswitchd has done all of it.
    ids = (f"external_ids:{key}={_string(value)}" for key, value in external_ids(interface).items())
    return Command(
        argv=(
            *_ovs_vsctl(interface.ovs_database),
            *("wait-until", "Bridge", interface.bridge),
            *("--", "--may-exist", "add-port", interface.bridge, interface.name),
            *("--", "set", "Interface", interface.name, "type=internal"),
            *(f"mac={_string(interface.mac)}", f"mtu_request={interface.mtu}", *ids),
        )
    )


def _ovs_vsctl(database: str | None) -> tuple[str, ...]:
    where = () if database is None else (f"--db={database}",)
    return ("ovs-vsctl", *where, "--retry", f"--timeout={_BRIDGE_DEADLINE_S}")


def _string(value: str) -> str:
    """A value that holds colons, as ovs-vsctl(8) reads it."""
    return f'"{value}"'
