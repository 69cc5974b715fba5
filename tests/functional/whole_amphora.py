# SPDX-License-Identifier: Apache-2.0
"""A load balancer with everything that a transaction covers, and the amphora that it needs.

haproxy with a certificate, a UDP listener, VRRP of a pair, and the firewall of an SR-IOV NIC.
"""

from ipaddress import IPv4Address

from amphora_agent.layout import KEEPALIVED_UNIT, haproxy_unit, lvs_unit
from tests.functional.conftest import NIC_MAC, Place
from tests.support import documents
from tests.support.documents import LB_ID, Document
from tests.support.netns import Namespace, run
from tests.support.tls_client import fetch_tls

VIP = IPv4Address("198.51.100.9")
OWN, PEER = "198.51.100.4", "198.51.100.5"
UDP = documents.object_id(3)
PORT = 443
UNITS = (haproxy_unit(LB_ID), lvs_unit(UDP), KEEPALIVED_UNIT)
# Where a controller plugs the NIC of the VIP, and with what.
PLUG_PATH = f"/1.0/plug/vip/{VIP}"
PLUG = {
    "subnet_cidr": "198.51.100.0/24",
    "gateway": None,
    "mac_address": NIC_MAC,
    "vrrp_ip": OWN,
    "is_sriov": True,
}


def prepare(place: Place) -> None:
    """Make the amphora one of a pair."""
    with place.config_file.open("a") as stream:
        stream.write("[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n")
    # keepalived adds the VIP when it is the master, which takes longer than most of a test.
    place.inner.ip("address", "add", f"{VIP}/32", "dev", "lo")


def document(place: Place, number: int, pem: str) -> Document:
    """One of several that differ in every file: the member is at port 8081 + number."""
    member = documents.member(1, 8081 + number)
    made = documents.with_tls(documents.http(member, port=PORT), pem)
    pool_id = documents.object_id(4)
    made["listeners"].append(
        {"id": UDP, "protocol": "UDP", "port": 5300 + number, "default_pool": pool_id}
    )
    made["pools"].append({"id": pool_id, "protocol": "UDP"})
    return made | {
        "vip": {"address": str(VIP), "subnet": "198.51.100.0/24"},
        "topology": "ACTIVE_STANDBY",
        "sriov": True,
        "amphorae": [
            {"id": str(place.amphora_id), "vrrp_ip": OWN, "role": "MASTER"},
            {"id": documents.object_id(5), "vrrp_ip": PEER, "role": "BACKUP"},
        ],
        "vrrp": {"authentication": f"secret{number}"},
    }


def rules(inside: Namespace) -> str:
    """What nftables has in force."""
    return run("ip", "netns", "exec", inside.name, "nft", "list", "table", "inet", "amphora_table")


def served(inside: Namespace) -> tuple[str, bytes]:
    """Who answers at the VIP, and with which certificate."""
    return fetch_tls(inside, VIP, PORT)
