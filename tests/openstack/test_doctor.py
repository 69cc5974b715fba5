# SPDX-License-Identifier: Apache-2.0
"""`amphoractl doctor` on a controller of a real cloud, whose resources are broken on purpose.

The cloud's namespace is the controller: it has o-hm0 with the MAC address of its port. There is no
amphora; what is looked at is what amphorae are made of, and what Neutron lets through.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openstack.connection import Connection
from openstack.image.v2._proxy import Proxy

from amphora_agent.balancer.values import decode
from amphora_controller import cli, octavia_conf
from amphora_controller.certificates.store import Store
from amphora_controller.site import Site
from tests.support import doctor_lab, need, pki
from tests.support.doctor_lab import INTERFACE, OWN, PORT, Report, Row
from tests.support.netns import Namespace, namespace
from tests.support.openstack import keystone, service
from tests.support.openstack.cloud import Cloud

_TAG = "amphora-of-doctor"
_IMAGE = "amphora-x64-haproxy"
_ELSEWHERE = "elsewhere"
# Of the cloud, which sees to it that it is looked at and not what stands beside it.
_CLOUDS_HOPS = (
    *("account", "clock", "flavor", "image", "keypair", "networks", "port", "security groups"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    """A controller that is well, as far as the cloud goes.

    Attributes:
        made: what was made in the cloud, by kind.
        conf: octavia.conf.
    """

    cloud: Cloud
    made: dict[str, Any]
    conf: Path

    def configure(self, *replacements: tuple[str, str]) -> None:
        """Replace pieces of octavia.conf's text."""
        text = self.conf.read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        self.conf.write_text(text)

    def doctor(self, capsys: pytest.CaptureFixture[str]) -> Report:
        """Run the command; nobody sends heartbeats, which it does not wait for."""
        with self.cloud.namespace.entered():
            status = cli.main(
                ["doctor", "--octavia-conf", str(self.conf), "--json", "--limit", "4"]
            )
        return doctor_lab.report(status, capsys.readouterr().out)


@pytest.fixture
def controller(cloud: Cloud, tmp_path: Path) -> Iterator[Controller]:
    """A controller with all that it needs in the cloud; all of it is removed."""
    (tmp_path / "pki").mkdir()
    store = Store(directory=tmp_path / "certs")
    doctor_lab.write_certificates(store, pki.create(tmp_path / "pki"))
    with resources(cloud) as made, namespace("peer") as peer:
        conf = tmp_path / "octavia.conf"
        site = msgspec.convert(_site(store.directory, made), Site, dec_hook=decode)
        conf.write_text(
            octavia_conf.render(site, site.controllers[0], octavia_conf.stated_ids(site), "site")
        )
        with plugged(cloud.namespace, peer, made["port"].mac_address):
            yield Controller(cloud=cloud, made=made, conf=conf)


@contextmanager
def resources(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """What Octavia needs, as docs/site.md has the operator make it."""
    with cloud.connection(cloud.name) as admin:
        made = _made(admin)
    try:
        yield made
    finally:
        with cloud.connection(cloud.name) as admin:
            for network in (made["network"], *admin.network.networks(name=_ELSEWHERE)):
                for port in admin.network.ports(network_id=network.id):
                    admin.network.delete_port(port)
                admin.network.delete_network(network)
            for kind in ("amphorae", "managers"):
                admin.network.delete_security_group(made[kind])
            admin.compute.delete_keypair(made["keypair"])
            admin.compute.delete_flavor(made["flavor"])
            for image in list(images(admin).images(name=_IMAGE)):
                images(admin).delete_image(image.id)


def _made(admin: Connection) -> dict[str, Any]:
    network = admin.network.create_network(name="lb-mgmt-net")
    admin.network.create_subnet(
        network_id=network.id, ip_version=4, cidr=str(OWN.network), is_dhcp_enabled=False
    )
    amphorae = admin.network.create_security_group(name="lb-mgmt-sec-grp")
    managers = admin.network.create_security_group(name="lb-health-mgr-sec-grp")
    _let(admin, amphorae, "tcp", 9443)
    _let(admin, managers, "udp", PORT)
    return {
        "network": network,
        "amphorae": amphorae,
        "managers": managers,
        "port": admin.network.create_port(
            network_id=network.id,
            fixed_ips=[{"ip_address": str(OWN.ip)}],
            security_groups=[managers.id],
            device_owner="Octavia:health-mgr",
        ),
        "flavor": admin.compute.create_flavor(
            name="amphora", ram=1024, vcpus=1, disk=2, is_public=False
        ),
        "keypair": admin.compute.create_keypair(name="octavia_ssh_key"),
        "image": _image(admin),
    }


def images(admin: Connection) -> Proxy:
    """Glance's API of today."""
    proxy = admin.image
    assert isinstance(proxy, Proxy)
    return proxy


def _let(admin: Connection, group: Any, protocol: str, port: int, **more: Any) -> Any:
    return admin.network.create_security_group_rule(
        security_group_id=group.id,
        direction="ingress",
        ether_type="IPv4",
        protocol=protocol,
        port_range_min=port,
        port_range_max=port,
        **more,
    )


def _image(admin: Connection, **more: Any) -> Any:
    return images(admin).create_image(
        _IMAGE,
        data=b"of no known format" * 1000,
        disk_format="raw",
        container_format="bare",
        tags=[_TAG],
        wait=True,
        **more,
    )


@contextmanager
def plugged(inside: Namespace, peer: Namespace, mac: str) -> Iterator[None]:
    """o-hm0, with a MAC address; the other end leads nowhere."""
    inside.ip(
        *("link", "add", INTERFACE, "address", mac, "type", "veth"),
        *("peer", "name", "other", "netns", peer.name),
    )
    peer.ip("link", "set", "other", "up")
    inside.add_address(INTERFACE, OWN)
    inside.ip("link", "set", INTERFACE, "up")
    try:
        yield
    finally:
        inside.ip("link", "del", INTERFACE)


def _site(certificates: Path, made: dict[str, Any]) -> dict[str, Any]:
    document = doctor_lab.site_document(certificates)
    return {
        **document,
        "controllers": document["controllers"][:1],
        "keystone": {
            "auth_url": service.KEYSTONE_URL,
            "username": "admin",
            "password": keystone.ADMIN_PASSWORD,
            "project": "admin",
            "region": service.REGION,
        },
        "management": {
            "networks": [made["network"].id],
            "security_groups": [made["amphorae"].id],
        },
        "amphora": {
            "flavor": made["flavor"].id,
            "image_tag": _TAG,
            "ssh_key": made["keypair"].name,
        },
    }


def cloud_rows(found: Report) -> dict[str, list[str]]:
    """Outcomes of the cloud's hops."""
    return {
        hop: [row["outcome"] for row in found.rows if row["hop"] == hop] for hop in _CLOUDS_HOPS
    }


def test_cloud_that_has_everything_is_well(
    controller: Controller, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every hop of the cloud is ok, and what they say names what was made."""
    found = controller.doctor(capsys)
    for hop, outcomes in cloud_rows(found).items():
        assert set(outcomes) == {"ok"}, (hop, found.rows)
    said = {row["hop"]: row["seen"] for row in found.rows}
    assert controller.made["port"].id in said["port"]
    assert controller.made["image"].id in said["image"]


_Break = Callable[[Controller, Connection], None]


def _mac(controller: Controller, _: Connection) -> None:
    inside = controller.cloud.namespace
    inside.ip("link", "set", INTERFACE, "address", "02:00:00:00:00:99")


def _no_port(controller: Controller, admin: Connection) -> None:
    admin.network.delete_port(controller.made["port"])


def _port_elsewhere(controller: Controller, admin: Connection) -> None:
    admin.network.delete_port(controller.made["port"])
    other = admin.network.create_network(name=_ELSEWHERE)
    admin.network.create_subnet(network_id=other.id, ip_version=4, cidr=str(OWN.network))
    admin.network.create_port(network_id=other.id, fixed_ips=[{"ip_address": str(OWN.ip)}])


def _no_9443(controller: Controller, admin: Connection) -> None:
    _forget_rules(admin, controller.made["amphorae"], "ingress")


def _no_9443_from_here(controller: Controller, admin: Connection) -> None:
    _no_9443(controller, admin)
    _let(admin, controller.made["amphorae"], "tcp", 9443, remote_ip_prefix="198.51.100.0/24")


def _no_5555(controller: Controller, admin: Connection) -> None:
    _forget_rules(admin, controller.made["managers"], "ingress")


def _nothing_out(controller: Controller, admin: Connection) -> None:
    _forget_rules(admin, controller.made["amphorae"], "egress")


def _forget_rules(admin: Connection, group: Any, direction: str) -> None:
    rules = list(admin.network.security_group_rules(security_group_id=group.id))
    for rule in rules:
        if rule.direction == direction:
            admin.network.delete_security_group_rule(rule)


def _no_group(controller: Controller, _: Connection) -> None:
    controller.configure((controller.made["amphorae"].id, "lb-mgmt-sec-grp"))


def _no_flavor(controller: Controller, _: Connection) -> None:
    controller.configure((f"amp_flavor_id = {controller.made['flavor'].id}", "amp_flavor_id = m1"))


def _no_network(controller: Controller, _: Connection) -> None:
    controller.configure((controller.made["network"].id, "lb-mgmt-net"))


def _no_keypair(controller: Controller, _: Connection) -> None:
    controller.configure(("octavia_ssh_key", "another_key"))


def _untagged(controller: Controller, admin: Connection) -> None:
    images(admin).remove_tag(controller.made["image"], _TAG)


def _owner_has_none(controller: Controller, _: Connection) -> None:
    controller.configure(("amp_image_tag = ", f"amp_image_owner_id = {'0' * 32}\namp_image_tag = "))


def _foreign_image(controller: Controller, admin: Connection) -> None:
    # Of the same cloud, of another project, newer, and for everybody.
    with controller.cloud.connection(controller.cloud.exhausted) as other:
        project = other.current_project_id
    _image(admin, owner=project, visibility="public")


def _image_too_large(controller: Controller, admin: Connection) -> None:
    images(admin).update_image(controller.made["image"], min_disk=3)


def _inactive(controller: Controller, admin: Connection) -> None:
    images(admin).deactivate_image(controller.made["image"])


def _password(controller: Controller, _: Connection) -> None:
    controller.configure((f"password = {keystone.ADMIN_PASSWORD}", "password = another"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """See tests/support/doctor_faults.py."""

    make: _Break
    hop: str
    words: str


BROKEN = {
    "wrong MAC address": Broken(make=_mac, hop="port", words="has MAC 02:00:00:00:00:99"),
    "no port": Broken(make=_no_port, hop="port", words="no port of Neutron has the address"),
    "a port on another network": Broken(
        make=_port_elsewhere, hop="port", words="amp_boot_network_list does not name"
    ),
    "no rule for 9443": Broken(
        make=_no_9443, hop="security groups", words="TCP 9443 from 203.0.113.1 in"
    ),
    "9443 for others": Broken(
        make=_no_9443_from_here, hop="security groups", words="TCP 9443 from 203.0.113.1 in"
    ),
    "no rule for 5555": Broken(
        make=_no_5555, hop="security groups", words="UDP 5555 from 203.0.113.0/24 in"
    ),
    "nothing comes out of amphorae": Broken(
        make=_nothing_out, hop="security groups", words="heartbeats to 203.0.113.1:5555 out"
    ),
    "a security group's name": Broken(
        make=_no_group, hop="security groups", words="no security group lb-mgmt-sec-grp"
    ),
    "no flavor": Broken(make=_no_flavor, hop="flavor", words="no flavor m1"),
    "a network's name": Broken(make=_no_network, hop="networks", words="no network lb-mgmt-net"),
    "no keypair": Broken(make=_no_keypair, hop="keypair", words="no keypair another_key"),
    "no tag": Broken(make=_untagged, hop="image", words=f"no image has the tag {_TAG}"),
    "no image of the owner": Broken(
        make=_owner_has_none, hop="image", words=f"is of project {'0' * 32}"
    ),
    "a foreign image": Broken(make=_foreign_image, hop="image", words="not Octavia's"),
    "an image larger than the flavor": Broken(
        make=_image_too_large, hop="image", words="needs 3 GB of disk"
    ),
    "an image that is not active": Broken(
        make=_inactive, hop="image", words="amphora-x64-haproxy is deactivated"
    ),
    "a wrong password": Broken(make=_password, hop="account", words="requires authentication"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_fault_of_the_cloud_is_named_and_no_other_is_blamed(
    controller: Controller, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """One hop of the cloud fails, with what to do; what follows from it is skipped."""
    broken = BROKEN[name]
    with controller.cloud.connection(controller.cloud.name) as admin:
        broken.make(controller, admin)
    failure = failure_of(controller.doctor(capsys))
    assert failure["hop"] == broken.hop
    assert broken.words in failure["seen"]


def failure_of(found: Report) -> Row:
    """The only hop of the cloud that is not well."""
    wrong = [row for row in found.rows if row["outcome"] in ("FAILED", "unknown")]
    wrong = [row for row in wrong if row["hop"] in _CLOUDS_HOPS]
    assert [row["outcome"] for row in wrong] == ["FAILED"], wrong
    assert wrong[0]["do"]
    return wrong[0]


def test_clock_of_the_controller_is_compared_with_keystones(controller: Controller) -> None:
    """A controller that is two hours ahead is told so, although its tokens seem to have expired."""
    need.programs("faketime")
    found = doctor_lab.doctor_by(
        controller.cloud.namespace, controller.conf, through=doctor_lab.wrong_clock("+2h")
    )
    failure = failure_of(found)
    assert failure["hop"] == "clock"
    assert "s ahead of Keystone" in failure["seen"]
