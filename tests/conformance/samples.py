# SPDX-License-Identifier: Apache-2.0
"""Small bodies of requests, in the forms that controllers render."""

from ipaddress import IPv4Network
from typing import Any

from tests.conformance.target import LB, LISTENER, UNKNOWN, Nic, Target
from tests.support.mutual_tls import Answer

MISSING_MAC = "02:00:00:00:00:fe"
RETRY_PHRASE = "No suitable network interface found"

PEM = f"{'a1' * 20}.pem"
CRT_LIST = f"{LISTENER}.pem"

# keepalived takes it once the VIP is plugged, which is when controllers send it.
VRRP = b"""vrrp_script check_script {
    script /var/lib/octavia/vrrp/check_script.sh
    interval 5
    fall 2
    rise 2
}

vrrp_instance 33333333000040008000000000000001 {
    interface eth1
    virtual_router_id 1
    priority 100
    nopreempt
    accept
    garp_master_refresh 5
    garp_master_refresh_repeat 2
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass 1a2b3c4
    }

    unicast_src_ip 198.51.100.4
    unicast_peer {
        198.51.100.5
    }

    virtual_ipaddress {
        198.51.100.19
    }

    track_script {
        check_script
    }
}
"""


def certificate(name: str, lb_id: str = LB) -> str:
    """Path of a certificate."""
    return f"/1.0/loadbalancer/{lb_id}/certificates/{name}"


def action(name: str, lb_id: str = LB) -> str:
    """Path of an action."""
    return f"/1.0/loadbalancer/{lb_id}/{name}"


def lvs(listener_id: str = LISTENER, *, namespace: str = "amphora-haproxy") -> bytes:
    """A UDP listener with one member and no health monitor."""
    return f"""# Configuration for Loadbalancer 33333333-0000-4000-8000-000000000001
# Configuration for Listener {listener_id}

net_namespace {namespace}

virtual_server_group ipv4-group {{
    127.0.0.1 5353
}}

virtual_server group ipv4-group {{
    lb_algo wrr
    lb_kind NAT
    protocol UDP


    # Configuration for Pool {UNKNOWN}
    # Configuration for Member 33333333-0000-4000-8000-00000000000a
    real_server 127.0.0.2 5353 {{
        weight 1

    }}

}}
""".encode()


def vip_plug(nic: Nic | None = None, **changes: Any) -> dict[str, Any]:
    """Body of POST plug/vip; without a NIC it names one that never comes."""
    network = None if nic is None else nic.network
    body = {
        "subnet_cidr": str(network or "198.51.100.0/24"),
        "gateway": str(network[1]) if network else "198.51.100.1",
        "mac_address": nic.mac if nic else MISSING_MAC,
        "mtu": 1450,
        "vrrp_ip": str(network[4]) if network else "198.51.100.4",
        "host_routes": [],
        "additional_vips": [],
        "is_sriov": False,
    }
    return body | changes


def network_plug(nic: Nic | None = None, **changes: Any) -> dict[str, Any]:
    """Body of POST plug/network; without a NIC it names one that never comes."""
    body = {
        "mac_address": nic.mac if nic else MISSING_MAC,
        "fixed_ips": [fixed_ip(nic, 5)],
        "mtu": 1450,
        "is_sriov": False,
    }
    return body | changes


def fixed_ip(nic: Nic | None, host: int) -> dict[str, Any]:
    """One address of a port, with its subnet."""
    network = IPv4Network("203.0.113.0/24") if nic is None else nic.network
    return {
        "ip_address": str(network[host]),
        "subnet_cidr": str(network),
        "gateway": str(network[1]),
        "host_routes": [],
    }


def rules() -> list[dict[str, Any]]:
    """Body of PUT interface/{ip}/rules."""
    return [
        {"protocol": "TCP", "cidr": "192.0.2.0/24", "port": 80},
        {"protocol": "UDP", "cidr": None, "port": 53},
        {"protocol": "SCTP", "cidr": "2001:db8::/32", "port": 90},
        {"protocol": "vrrp", "cidr": "192.0.2.7/32", "port": 112},
    ]


def vip_of(target: Target) -> str:
    """The VIP that the tests plug."""
    return str(target.vip_nic.address(9)) if target.vip_nic else "198.51.100.9"


def plug_vip(target: Target, nic: Nic | None = None, **changes: Any) -> Answer:
    """Plug the VIP of the tests."""
    return target.ask_json("POST", f"/1.0/plug/vip/{vip_of(target)}", vip_plug(nic, **changes))


def plug_network(target: Target, nic: Nic | None = None, **changes: Any) -> Answer:
    """Plug a member network."""
    return target.ask_json("POST", "/1.0/plug/network", network_plug(nic, **changes))
