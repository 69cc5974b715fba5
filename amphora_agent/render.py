# SPDX-License-Identifier: Apache-2.0
"""Texts for other programs, made of models."""

import base64
import hashlib
import shlex
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from amphora_agent import nft
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import VIP_INTERFACE
from amphora_agent.models import (
    FirewallRule,
    FixedIp,
    HostRoute,
    Interface,
    IPAddress,
    IPNetwork,
    NetworkPlug,
    Route,
    Vip,
    VipPlug,
)


def peer_name(amphora_id: str) -> str:
    """The name under which an amphora stands in haproxy's `peers` section.

    The controller computes the same (octavia's haproxy jinja_cfg.py, base64_sha1_string): base64
    of the SHA-1 of the id, with `_` and `-` for `+` and `/`, no padding, and `x` for a leading
    `-`, which haproxy would take for an option.
    """
    digest = hashlib.sha1(amphora_id.encode(), usedforsecurity=False).digest()
    name = base64.b64encode(digest, altchars=b"_-").decode().rstrip("=")
    return f"x{name[1:]}" if name.startswith("-") else name


def haproxy_environment(amphora_id: str) -> str:
    """Variables of the unit haproxy@.service."""
    return _template("haproxy.env.j2").render(peer_name=peer_name(amphora_id))


def check_script(directory: Path) -> str:
    """keepalived's track script, which runs every script of a directory."""
    return _template("check_script.sh.j2").render(directory=str(directory))


def haproxy_check_script(sockets: Iterable[str] | None) -> str:
    """The check that haproxy answers on each stats socket; without any, it succeeds.

    Args:
        sockets: None while there is nothing to serve: then the check fails.
    """
    return _template("haproxy_check_script.sh.j2").render(sockets=sockets)


def lvs_check_script(stem: Path) -> str:
    """The check that the keepalived of every UDP and SCTP listener lives.

    Args:
        stem: path of a process id file up to the id of the listener.
    """
    return _template("lvs_udp_check.sh.j2").render(stem=str(stem))


def udp_check() -> str:
    """keepalived's check of UDP-CONNECT health monitors."""
    return _template("udp_check.sh.j2").render()


def interface_json(interface: Interface, plug: NetworkPlug) -> bytes:
    """The desired state of an interface as a file: JSON with the field names of Octavia's agent.

    Args:
        plug: all that was asked for on this NIC, in one request. It is kept in the file, under
            `plug`, so that a later request for a part of it leaves the rest as it is.
    """
    document = {
        "name": interface.name,
        "if_type": interface.type,
        "mac": interface.mac,
        "mtu": interface.mtu,
        "is_sriov": interface.is_sriov,
        "addresses": [
            {
                "address": str(address.interface.ip),
                "prefixlen": address.interface.network.prefixlen,
                "octavia_owned": address.owned,
            }
            for address in interface.addresses
        ],
        "routes": [_route(route) for route in interface.routes],
        "automatic": interface.automatic,
        "rules": [
            {
                "src": str(rule.source.network_address),
                "src_len": rule.source.prefixlen,
                "table": rule.table,
            }
            for rule in interface.rules
        ],
        "plug": _network_plug(plug),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def vip_firewall(rules: Iterable[FirewallRule]) -> str:
    """Rules of nftables that let in through the VIP's NIC what `rules` say, and nothing else."""
    # Listeners on one port with the same networks make equal rules.
    accepted = dict.fromkeys(nft.accepted(rule) for rule in rules)
    template = _template("nftables-vip.rules.j2")
    return template.render(vip_interface=VIP_INTERFACE, accepted=accepted)


def masquerade(
    interface: str, ip_versions: Collection[int], *, change: nft.Change, track_tcp: bool
) -> str:
    """Rules of nftables for UDP and SCTP listeners; loading them twice changes nothing more.

    UDP and SCTP that leave the interface are masqueraded, and TCP on it is not tracked.

    Args:
        change: add the interface to the rules, or take it, and only it, out of them.
        track_tcp: track TCP nevertheless, as the firewall of an SR-IOV NIC needs it.

    Raises:
        InvalidRequest: no interface can be called so.
    """
    return _template("masquerade.nft.j2").render(
        interface=nft.interface_name(interface),
        tables=[nft.FAMILIES[version] for version in sorted(ip_versions)],
        masqueraded=change is nft.Change.ADD,
        untracked=change is nft.Change.ADD and not track_tcp,
    )


def _network_plug(plug: NetworkPlug) -> dict[str, object]:
    """A body of POST plug/network."""
    return {
        "mac_address": plug.mac,
        "mtu": plug.mtu,
        "is_sriov": plug.is_sriov,
        "fixed_ips": None if plug.fixed_ips is None else [_fixed_ip(ip) for ip in plug.fixed_ips],
        "vip_net_info": None if plug.vip is None else _vip_net_info(plug.vip),
    }


def _fixed_ip(fixed_ip: FixedIp) -> dict[str, object]:
    return {
        "ip_address": str(fixed_ip.interface.ip),
        "subnet_cidr": str(fixed_ip.interface.network),
        "gateway": _text(fixed_ip.gateway),
        "host_routes": _host_routes(fixed_ip.host_routes),
    }


def _vip_net_info(plug: VipPlug) -> dict[str, object]:
    primary, *additional = plug.vips
    return {
        "vip": str(primary.address),
        **_vip_subnet(primary),
        "mac_address": plug.mac,
        "mtu": plug.mtu,
        "vrrp_ip": _text(plug.vrrp_ip),
        "is_sriov": plug.is_sriov,
        "additional_vips": [
            {"ip_address": str(vip.address), **_vip_subnet(vip)} for vip in additional
        ],
    }


def _vip_subnet(vip: Vip) -> dict[str, object]:
    return {
        "subnet_cidr": str(vip.subnet),
        "gateway": _text(vip.gateway),
        "host_routes": _host_routes(vip.host_routes),
    }


def _host_routes(routes: Iterable[HostRoute]) -> list[dict[str, str]]:
    return [
        {"destination": str(route.destination), "nexthop": str(route.nexthop)} for route in routes
    ]


def _text(value: IPAddress | IPNetwork | None) -> str | None:
    return None if value is None else str(value)


def _route(route: Route) -> dict[str, object]:
    fields: dict[str, object] = {"dst": str(route.destination), "table": route.table}
    if route.gateway is None:
        fields["scope"] = "link"
    else:
        fields |= {"gateway": str(route.gateway), "flags": ["onlink"]}
    if route.source is not None:
        fields["prefsrc"] = str(route.source)
    return fields


@cache
def environment() -> jinja2.Environment:
    """How templates become texts; other kinds of text than shell scripts take an overlay of it."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("amphora_agent", "templates"),
        undefined=jinja2.StrictUndefined,
        finalize=_one_line,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The texts are configuration files; HTML's entities would be wrong in them.
        autoescape=False,  # noqa: S701
    )
    # A value as one word of a shell script.
    made.filters["quote"] = shlex.quote
    return made


def _template(name: str) -> jinja2.Template:
    return environment().get_template(name)


def _one_line(value: Any) -> Any:
    """Refuse a value that could start a line, and so a directive, of its own."""
    if isinstance(value, str) and any(mark in value for mark in "\r\n\0"):
        raise InvalidRequest("Invalid value", f"{value!r} has a line break or a NUL in it")
    return value
