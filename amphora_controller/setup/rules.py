# SPDX-License-Identifier: Apache-2.0
"""Rules of the two security groups: what they are to be, and how Neutron tells them.

Pure. One group is for the management ports of amphorae, one for the controllers' own ports.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from amphora_controller.site import LogProtocol, Site

_AGENT_PORT = 9443
_SSH_PORT = 22
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a group lets pass.

    Attributes:
        version: of IP.
        protocol: tcp, udp or icmp, which is ICMPv6 with version 6; None for all.
        port: None for all.
        remote: a network in CIDR notation; None for anywhere.
    """

    direction: str
    version: int
    protocol: str | None = None
    port: int | None = None
    remote: str | None = None

    def __str__(self) -> str:
        """A few words for people."""
        ports = "" if self.port is None else f" {self.port}"
        whence = "" if self.remote is None else f" from {self.remote}"
        return f"{self.direction} IPv{self.version} {self.protocol or 'all'}{ports}{whence}"

    def body(self, group_id: str) -> dict[str, Any]:
        """As Neutron takes it."""
        protocol = "ipv6-icmp" if (self.protocol, self.version) == ("icmp", 6) else self.protocol
        return {
            "security_group_id": group_id,
            "direction": self.direction,
            "ethertype": f"IPv{self.version}",
            "protocol": protocol,
            "port_range_min": self.port,
            "port_range_max": self.port,
            "remote_ip_prefix": self.remote,
        }


def amphora_rules(site: Site, networks: Iterable[str]) -> frozenset[Rule]:
    """Rules of amphorae: the agent answers controllers; errors of ICMP may come from any router.

    Args:
        networks: of the management network's subnets, in CIDR notation.
    """
    rules = {*_everywhere(), *_icmp(networks)}
    for controller in site.controllers:
        address = ip_address(controller.management_ip)
        ports = (_AGENT_PORT, _SSH_PORT) if site.management.ssh else (_AGENT_PORT,)
        rules |= {
            _ingress(address.version, "tcp", port, f"{address}/{address.max_prefixlen}")
            for port in ports
        }
    return frozenset(rules)


def controller_rules(site: Site, networks: Iterable[str]) -> frozenset[Rule]:
    """Rules of controllers: amphorae send them heartbeats, and logs where the site says so.

    Args:
        networks: see amphora_rules.
    """
    sources = tuple(networks)
    log_protocol = "udp" if site.logs.protocol is LogProtocol.UDP else "tcp"
    wanted = {("udp", site.health.port), *((log_protocol, port) for port in log_ports(site))}
    received = {
        _ingress(ip_network(source).version, protocol, port, source)
        for protocol, port in wanted
        for source in sources
    }
    return frozenset({*_everywhere(), *_icmp(sources), *received})


def told(rule: Mapping[str, Any]) -> Rule | None:
    """A rule as Neutron tells it; None if it is of a kind that is never wanted."""
    version = 6 if rule["ethertype"] == "IPv6" else 4
    low, high = rule["port_range_min"], rule["port_range_max"]
    if low != high or rule["remote_group_id"] or rule.get("remote_address_group_id"):
        return None
    remote = rule["remote_ip_prefix"]
    protocol = rule["protocol"]
    return Rule(
        direction=rule["direction"],
        version=version,
        protocol="icmp" if protocol in {"ipv6-icmp", "icmpv6"} else protocol,
        port=low,
        remote=None if remote == _ANYWHERE[version] else remote,
    )


def log_ports(site: Site) -> Iterator[int]:
    """Ports of controllers to which logs go; other hosts have rules of their own."""
    controllers = {str(controller.management_ip) for controller in site.controllers}
    for target in (*site.logs.admin_targets, *site.logs.tenant_targets):
        host, _, port = target.rpartition(":")
        if str(ip_address(host.strip("[]"))) in controllers:
            yield int(port)


def _everywhere() -> frozenset[Rule]:
    """What Neutron gives every new group."""
    return frozenset(Rule(direction="egress", version=version) for version in (4, 6))


def _icmp(networks: Iterable[str]) -> frozenset[Rule]:
    return frozenset(
        Rule(direction="ingress", version=ip_network(network).version, protocol="icmp")
        for network in networks
    )


def _ingress(version: int, protocol: str, port: int, remote: str) -> Rule:
    return Rule(direction="ingress", version=version, protocol=protocol, port=port, remote=remote)
