# SPDX-License-Identifier: Apache-2.0
"""Octavia's own driver against the agent: the call sequences that need one amphora.

Every write is sent twice, because controllers send again what took too long or was broken off.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface

import pytest

from tests.conformance import samples
from tests.functional.conftest import GATEWAY, LOOPBACK, NIC_MAC, Place
from tests.support import http_member, need
from tests.support.balancer import (
    Amphora,
    Listener,
    LoadBalancer,
    Member,
    MemberPort,
    Pool,
    VipPort,
)
from tests.support.octavia_driver import ControllerConfig, Octavia, OctaviaError, octavia

pytestmark = pytest.mark.slow

VIP = IPv4Address("198.51.100.9")
VRRP_ADDRESS = IPv4Address("198.51.100.4")
MEMBER_MAC = "02:00:00:00:00:02"
MEMBER_NETWORK = IPv4Interface("203.0.113.1/24")
VIP_PORT = VipPort(mac=NIC_MAC, subnet=GATEWAY.network, gateway=GATEWAY.ip, mtu=1450)
MEMBER_PORT = MemberPort(
    mac=MEMBER_MAC,
    subnet=MEMBER_NETWORK.network,
    addresses=(IPv4Address("203.0.113.5"),),
    gateway=None,
    mtu=1450,
)
ONE = Member(address=LOOPBACK, port=8081)
TWO = Member(address=LOOPBACK, port=8082)
RULES = (
    {"protocol": "TCP", "cidr": "192.0.2.0/24", "port": 80},
    {"protocol": "UDP", "cidr": None, "port": 53},
    {"protocol": "vrrp", "cidr": "198.51.100.5/32", "port": 112},
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """A controller, the agent, and what the controller is to make of it."""

    controller: Octavia
    config: ControllerConfig
    agent: Place
    amphora: Amphora
    balancer: LoadBalancer

    def with_listeners(self, *listeners: Listener) -> LoadBalancer:
        """The load balancer with other listeners."""
        return replace(self.balancer, listeners=listeners)

    def store_certificate(self) -> uuid.UUID:
        """A certificate in the store of the controller."""
        pem = self.agent.pki.amphora_pem(uuid.uuid4())
        leaf, marker, key = pem.partition(b"-----BEGIN RSA PRIVATE KEY")
        return self.config.store_certificate(leaf, marker + key)

    def twice(self, *calls: Callable[[], object]) -> list[str]:
        """Make each call two times; what was said on the wire in the second round."""
        for call in calls:
            call()
        before = len(self.controller.exchanges())
        for call in calls:
            call()
        exchanges = self.controller.exchanges()[before:]
        assert not [item for item in exchanges if item.failure]
        return [
            f"{item.method} {item.path} {item.status}".replace(
                str(self.amphora.id), "AMPHORA"
            ).replace(str(self.balancer.id), "LB")
            for item in exchanges
        ]


@pytest.fixture(scope="module")
def story(agent: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    agent.outer.ip(
        *("link", "add", "nic1", "address", MEMBER_MAC, "type", "veth"),
        *("peer", "name", "net1", "netns", agent.network.name),
    )
    agent.network.add_address("net1", MEMBER_NETWORK)
    agent.network.ip("link", "set", "net1", "up")
    amphora = Amphora(management_address=LOOPBACK, vrrp_address=VRRP_ADDRESS, id=agent.amphora_id)
    config = ControllerConfig(
        directory=tmp_path_factory.mktemp("octavia"),
        pki=agent.pki,
        heartbeat_key="heartbeat-key",
        heartbeat_targets=((LOOPBACK, 5555),),
        retries=3,
        haproxy_amphora={
            "base_path": str(agent.base),
            "base_cert_dir": str(agent.base / "certs"),
            # What haproxy may open is limited where no systemd raises the limit.
            "default_connection_limit": "100",
        },
        amphora_agent={
            "agent_server_cert": str(agent.server_pem),
            "agent_server_ca": str(agent.pki.client_chain),
            "agent_server_network_dir": str(agent.directory / "interfaces"),
        },
    )
    with octavia(config, agent.outer) as controller:
        yield Story(
            controller=controller,
            config=config,
            agent=agent,
            amphora=amphora,
            balancer=LoadBalancer(vip=VIP, amphora=amphora),
        )


def test_sequence_boot(story: Story) -> None:
    """After boot the driver finds the version and the haproxy version."""
    info: list[str] = []
    said = story.twice(lambda: info.append(story.controller.info(story.amphora)["haproxy_version"]))
    assert said == ["GET // 200", "GET /1.0/info 200"]
    assert info[0].split(".")[0].isdecimal()


def test_sequence_vip_plug(story: Story) -> None:
    """The VIP is plugged, and plugged again, and then its interface is known."""
    said = story.twice(
        lambda: story.controller.post_vip_plug(story.balancer, VIP_PORT).result(timeout=60)
    )
    assert said == ["GET // 200", f"POST /1.0/plug/vip/{VIP} 409"]
    assert story.controller.interface(story.amphora, VRRP_ADDRESS) == "eth1"
    assert story.controller.interface(story.amphora, VIP) == "eth1"


def test_sequence_missing_nic_is_waited_for(story: Story) -> None:
    """A NIC that never comes makes the driver ask again until it gives up."""
    before = len(story.controller.exchanges())
    port = replace(MEMBER_PORT, mac="02:00:00:00:00:fd")
    with pytest.raises(OctaviaError) as caught:
        story.controller.post_network_plug(story.balancer, port).result(timeout=60)
    assert caught.value.kind == "TimeOutException"
    statuses = [item.status for item in story.controller.exchanges()[before:]]
    assert statuses == [200, 404, 404, 404]


def test_sequence_full_push(story: Story) -> None:
    """A full push ends in traffic; the same push again changes nothing of that."""
    pool = Pool(members=(ONE,))
    balancer = story.with_listeners(Listener(port=80, pool=pool))
    said = story.twice(lambda: story.controller.update(balancer))
    assert said[:2] == ["GET // 200", "GET /1.0/info 200"]
    assert said[-3:] == [
        "GET /1.0/details 200",
        "PUT /1.0/loadbalancer/AMPHORA/LB/haproxy 202",
        "PUT /1.0/loadbalancer/LB/reload 202",
    ]
    inside = story.agent.inner
    with http_member.http_member(inside, "one", LOOPBACK, 8081):
        assert http_member.fetch(inside, VIP, 80).text == "one"


def test_sequence_change_of_members_and_listeners(story: Story) -> None:
    """A member more, a listener more and a disabled one are pushes of the whole."""
    first = Listener(port=80, pool=Pool(members=(ONE, TWO)))
    second = Listener(port=81, pool=Pool(members=(TWO,)))
    for listeners in ((first,), (first, second), (first, replace(second, enabled=False))):
        balancer = story.with_listeners(*listeners)
        story.twice(lambda balancer=balancer: story.controller.update(balancer))  # type: ignore[misc]
    inside = story.agent.inner
    with (
        http_member.http_member(inside, "one", LOOPBACK, 8081),
        http_member.http_member(inside, "two", LOOPBACK, 8082),
    ):
        assert {http_member.fetch(inside, VIP, 80).text for _ in range(4)} == {"one", "two"}


def test_sequence_certificates(story: Story) -> None:
    """Certificates are sent once, compared afterwards, and deleted with their listener."""
    default, more = story.store_certificate(), story.store_certificate()
    pool = Pool(members=(ONE,))
    plain = Listener(port=80, pool=pool)
    terminated = Listener(
        port=443, pool=pool, protocol="TERMINATED_HTTPS", certificates=(default, more)
    )
    balancer = story.with_listeners(plain, terminated)
    said = story.twice(lambda: story.controller.update(balancer))
    uploads = [line for line in said if line.startswith("PUT ") and "/certificates/" in line]
    compared = [line for line in said if line.startswith("GET ") and "/certificates/" in line]
    assert uploads == []
    assert len(compared) == 3
    assert all(line.endswith(" 200") for line in compared)
    stored = story.agent.base / "certs" / str(story.balancer.id)
    assert len(list(stored.iterdir())) == 3

    said = story.twice(lambda: story.controller.delete(balancer, terminated.id))
    deleted = [line for line in said if line.startswith("DELETE ")]
    assert len(deleted) == 2
    assert all(line.endswith(" 200") for line in deleted)
    assert said[-1] == "PUT /1.0/loadbalancer/LB/reload 202"
    assert [path.name for path in stored.iterdir()] == [f"{terminated.id}.pem"]


def test_sequence_udp_listener(story: Story) -> None:
    """A UDP listener is uploaded and deleted by its own id.

    Its start needs IPVS and the namespace that the configuration names: see the image's tests.
    """
    pool = Pool(members=(ONE,), protocol="UDP")
    listener = Listener(port=53, pool=pool, protocol="UDP")
    config = samples.lvs(str(listener.id)).decode()
    said = story.twice(
        lambda: story.controller.client(
            story.amphora, "upload_udp_config", str(listener.id), config
        )
    )
    assert said[-1] == f"PUT /1.0/listeners/AMPHORA/{listener.id}/udp_listener 200"
    balancer = story.with_listeners(listener)
    said = story.twice(lambda: story.controller.delete(balancer, listener.id))
    assert said[-1] == f"DELETE /1.0/listeners/{listener.id} 200"


def test_sequence_member_on_a_new_network(story: Story) -> None:
    """The port of a member network is plugged; a changed list of subnets is sent again."""
    said = story.twice(
        lambda: story.controller.post_network_plug(story.balancer, MEMBER_PORT).result(timeout=60)
    )
    assert said == ["GET // 200", "POST /1.0/plug/network 202"]
    assert story.controller.interface(story.amphora, MEMBER_PORT.addresses[0]) == "eth2"


def test_sequence_member_on_the_vip_network(story: Story) -> None:
    """Members on the VIP's network come as a plug of the VIP's port; the VIP stays."""
    port = MemberPort(
        mac=NIC_MAC,
        subnet=VIP_PORT.subnet,
        addresses=(VRRP_ADDRESS,),
        gateway=VIP_PORT.gateway,
        mtu=VIP_PORT.mtu,
        vip=True,
    )
    said = story.twice(
        lambda: story.controller.post_network_plug(story.balancer, port).result(timeout=60)
    )
    assert said == ["GET // 200", "POST /1.0/plug/network 202"]
    assert story.controller.interface(story.amphora, VIP) == "eth1"


def test_sequence_vrrp(story: Story) -> None:
    """The VRRP configuration is uploaded; keepalived is started, reloaded and stopped."""
    controller = story.controller
    said = story.twice(lambda: controller.upload_vrrp(story.balancer, VIP_PORT))
    assert said == ["GET // 200", "PUT /1.0/vrrp/upload 200"]
    for call, action in (
        (lambda: controller.start_vrrp(story.amphora), "start"),
        (lambda: controller.reload_vrrp(story.balancer), "reload"),
        (lambda: controller.stop_vrrp(story.amphora), "stop"),
    ):
        assert story.twice(call) == ["GET // 200", f"PUT /1.0/vrrp/{action} 202"]


def test_sequence_rules(story: Story) -> None:
    """The rules of an SR-IOV port are replaced, also by none."""
    need.programs("nft")
    for rules in (RULES, ()):
        said = story.twice(
            lambda rules=rules: story.controller.set_rules(  # type: ignore[misc]
                story.amphora, VRRP_ADDRESS, rules
            )
        )
        assert said == ["GET // 200", f"PUT /1.0/interface/{VRRP_ADDRESS}/rules 200"]


def test_sequence_certificate_rotation(story: Story) -> None:
    """A new server.pem is taken, and the driver goes on with it."""
    pem = story.agent.pki.amphora_pem(story.amphora.id)
    said = story.twice(lambda: story.controller.rotate_certificate(story.amphora, pem))
    assert said == ["GET // 200", "PUT /1.0/certificate 202"]
    assert story.agent.server_pem.read_bytes() == pem
    assert story.controller.version(story.amphora) == "1.0"


def test_sequence_agent_configuration(story: Story) -> None:
    """A freshly rendered configuration is taken and stored."""
    text = story.controller.boot_files(story.amphora.id).agent
    said = story.twice(lambda: story.controller.update_agent_config(story.amphora, text))
    assert said == ["GET // 200", "PUT /1.0/config 202"]
    assert story.agent.config_file.read_text() == text


def test_sequence_failover_reloads(story: Story) -> None:
    """After a failover of another amphora everything is pushed, reloaded and started."""
    balancer = story.with_listeners(Listener(port=80, pool=Pool(members=(ONE,))))
    said = story.twice(
        lambda: story.controller.update(balancer),
        lambda: story.controller.reload(balancer),
        lambda: story.controller.start(balancer),
    )
    assert [line for line in said if line.startswith("PUT ")] == [
        "PUT /1.0/loadbalancer/AMPHORA/LB/haproxy 202",
        "PUT /1.0/loadbalancer/LB/reload 202",
        "PUT /1.0/loadbalancer/LB/reload 202",
        "PUT /1.0/loadbalancer/LB/start 202",
    ]


def test_sequence_last_listener(story: Story) -> None:
    """Deleting the last listener removes the load balancer from the amphora."""
    listener = Listener(port=80, pool=Pool(members=(ONE,)))
    balancer = story.with_listeners(listener)
    story.controller.update(balancer)
    said = story.twice(lambda: story.controller.delete(balancer, listener.id))
    assert said == ["GET // 200", "DELETE /1.0/listeners/LB 200"]
    assert not (story.agent.base / str(story.balancer.id)).exists()
    assert story.controller.client(story.amphora, "get_all_listeners") == []
