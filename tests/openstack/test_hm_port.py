# SPDX-License-Identifier: Apache-2.0
"""The step hm-port, with the real Neutron and real bridges.

The controller's network is that of the cloud. No agent of Neutron runs, so that nothing passes;
tests/functional/test_host_interface.py has the traffic.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Cloud as Door
from amphora_controller.setup.context import Context
from amphora_controller.setup.hm_port import HmPortStep
from amphora_controller.setup.hm_port_host import Place
from amphora_controller.setup.keystone import KeystoneStep
from amphora_controller.setup.network import NetworkStep
from amphora_controller.setup.steps import Step
from tests.support import need
from tests.support.netns import run
from tests.support.openstack.cloud import Cloud
from tests.support.openstack.registry import identity
from tests.support.openvswitch import BRIDGE, OpenVSwitch, open_vswitch
from tests.support.sites import loaded
from tests.support.units import FileUnits

PORT = "octavia-health-manager-ctl1-listen-port"
SUBNETS = [
    {"cidr": "192.0.2.0/24", "pool": ["192.0.2.100", "192.0.2.200"]},
    {"cidr": "2001:db8::/64"},
]


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A controller in the cloud's network; Neutron has the management network."""

    cloud: Cloud
    directory: Path
    units: FileUnits
    vswitch: OpenVSwitch

    def step(self, name: str = "ctl1", *, dry_run: bool = False, **changes: Any) -> HmPortStep:
        """What is tested."""
        place = Place(units=self.directory / "units", rules=self.directory / "rules.nft")
        context = self.context(name, dry_run=dry_run, **changes)
        return HmPortStep(context, place, self.units)

    def context(self, name: str = "ctl1", *, dry_run: bool = False, **changes: Any) -> Context:
        """For any step."""
        described = {
            "management": {"network": {"subnets": SUBNETS, "mtu": 1442}},
            "host": {"plug": "ovs", "ovs_database": self.vswitch.database},
            **changes,
        }
        site = loaded(self.directory, **described)
        return Context(
            site=site, source="s", host=name, cloud=Door(self.cloud.name), dry_run=dry_run
        )

    def ports(self, **query: str) -> list[dict[str, Any]]:
        """Ports as the administrator sees them."""
        with self.cloud.connection(self.cloud.name) as admin:
            return [port.to_dict() for port in admin.network.ports(**query)]

    def interface(self) -> dict[str, Any]:
        """o-hm0 as the kernel has it."""
        name = self.cloud.namespace.name
        (row,) = json.loads(run("ip", "-netns", name, "-json", "address", "show", "o-hm0"))
        assert isinstance(row, dict)
        return row


@pytest.fixture(scope="module")
def prepared(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A controller for which everything before hm-port is done."""
    need.programs("ip", "nft", "ovs-vsctl")
    directory = tmp_path_factory.mktemp("controller")
    (directory / "units").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ovs-") as short,
        open_vswitch(cloud.namespace, Path(short)) as vswitch,
    ):
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds_yaml))
        vswitch.add_bridge()
        units = FileUnits(directory / "units")
        made = Controller(cloud=cloud, directory=directory, units=units, vswitch=vswitch)
        before: tuple[Step, ...] = (KeystoneStep(made.context()), NetworkStep(made.context()))
        with cloud.namespace.entered():
            for step in before:
                apply(step)
        yield made
        with cloud.namespace.entered():
            for step in reversed(before):
                remove(step)
        vswitch.vsctl("del-br", BRIDGE)


@pytest.fixture
def controller(prepared: Controller) -> Iterator[Controller]:
    """The same, for one test."""
    with prepared.cloud.namespace.entered():
        yield prepared
        remove(prepared.step())


def apply(step: Step) -> list[str]:
    """Do all changes; what was done."""
    done = []
    for change in step.changes():
        change.do()
        done.append(change.what)
    return done


def remove(step: Step) -> list[str]:
    """Do all removals; what was done."""
    done = []
    for change in step.removals():
        change.do()
        done.append(change.what)
    return done


def test_interface_stands_for_the_port(controller: Controller) -> None:
    """Neutron has a port for this host's health manager, and o-hm0 its MAC, address and MTU."""
    assert apply(controller.step())[0] == f"create port {PORT} with 192.0.2.11"
    (port,) = controller.ports(name=PORT)
    assert (port["device_owner"], port["binding_host_id"]) == ("Octavia:health-mgr", "ctl1")
    assert [fixed["ip_address"] for fixed in port["fixed_ips"]] == ["192.0.2.11"]
    row = controller.interface()
    assert (row["address"], row["mtu"]) == (port["mac_address"], 1442)
    assert "192.0.2.11" in [info["local"] for info in row["addr_info"]]
    told = controller.vswitch.vsctl("get", "Interface", "o-hm0", "external_ids:iface-id")
    assert told.strip().strip('"') == port["id"]
    with controller.cloud.connection(controller.cloud.name) as admin:
        (group,) = port["security_group_ids"]
        assert admin.network.get_security_group(group).name == "lb-health-mgr-sec-grp"


def test_second_run_changes_nothing(controller: Controller) -> None:
    """When port and interface are as they should be, there is no change."""
    apply(controller.step())
    assert apply(controller.step()) == []


def test_linux_bridge_has_the_names_of_neutron(controller: Controller) -> None:
    """With a Linux bridge, tap and bridge are called as Neutron's agent calls them."""
    with controller.cloud.connection(controller.cloud.name) as admin:
        network = admin.network.find_network("lb-mgmt-net", ignore_missing=False).id
    bridge = f"brq{network[:11]}"
    controller.cloud.namespace.ip("link", "add", bridge, "type", "bridge")
    try:
        with_bridge: dict[str, Any] = {"host": {"plug": "linuxbridge"}}
        apply(controller.step(**with_bridge))
        (port,) = controller.ports(name=PORT)
        assert controller.interface()["link"] == f"tap{port['id'][:11]}"
        assert apply(controller.step(**with_bridge)) == []
        remove(controller.step(**with_bridge))
    finally:
        controller.cloud.namespace.ip("link", "delete", bridge)


def test_ipv6_controller_has_an_ipv6_port(controller: Controller) -> None:
    """A controller with an IPv6 address gets it, from the subnet that it belongs to."""
    apply(controller.step("ctl2"))
    assert "2001:db8::12" in [info["local"] for info in controller.interface()["addr_info"]]
    assert remove(controller.step("ctl2"))


def test_changed_port_is_put_right(controller: Controller) -> None:
    """A port that was bound to another host, or has another group, is changed back."""
    apply(controller.step())
    (port,) = controller.ports(name=PORT)
    with controller.cloud.connection(controller.cloud.name) as admin:
        admin.network.update_port(port["id"], binding_host_id="other", security_groups=[])
    (what, *_) = apply(controller.step())
    assert what == f"change binding:host_id, security_groups of port {PORT}"
    assert apply(controller.step()) == []


def test_port_made_anew_is_followed(controller: Controller) -> None:
    """When the port was deleted, the next run makes one, and o-hm0 becomes its interface."""
    apply(controller.step())
    (port,) = controller.ports(name=PORT)
    with controller.cloud.connection(controller.cloud.name) as admin:
        admin.network.delete_port(port["id"])
    apply(controller.step())
    (again,) = controller.ports(name=PORT)
    assert controller.interface()["address"] == again["mac_address"] != port["mac_address"]
    assert apply(controller.step()) == []


def test_taken_address_is_named(controller: Controller) -> None:
    """When another port has the address, that port is named, and nothing is made."""
    with controller.cloud.connection(controller.cloud.name) as admin:
        network = admin.network.find_network("lb-mgmt-net", ignore_missing=False)
        other = admin.network.create_port(
            network_id=network.id, name="somebody", fixed_ips=[{"ip_address": "192.0.2.11"}]
        )
        with pytest.raises(ControllerError, match=f"is taken by port {other.id} .somebody"):
            apply(controller.step())
        admin.network.delete_port(other)
    assert controller.ports(name=PORT) == []


def test_foreign_port_of_the_name_is_not_touched(controller: Controller) -> None:
    """A port of that name that somebody else made is an error, and stays."""
    with controller.cloud.connection(controller.cloud.name) as admin:
        network = admin.network.find_network("lb-mgmt-net", ignore_missing=False)
        project = identity(admin).find_project("service", ignore_missing=False)
        other = admin.network.create_port(network_id=network.id, name=PORT, project_id=project.id)
        with pytest.raises(ControllerError, match="is there already, and amphoractl did not"):
            apply(controller.step())
        remove(controller.step())
        admin.network.delete_port(other, ignore_missing=False)


@contextmanager
def agent(cloud: Cloud, host: str) -> Iterator[None]:
    """An Open vSwitch agent of Neutron that was seen on a host just now."""
    found = json.dumps({"tunnel_types": ["vxlan"], "tunneling_ip": "127.0.0.1"})
    cloud.machine.run(
        "mariadb",
        "neutron",
        stdin="INSERT INTO agents (id, agent_type, `binary`, topic, host, admin_state_up,"
        " created_at, started_at, heartbeat_timestamp, configurations, `load`, resources_synced)"
        " VALUES"
        f" (UUID(), 'Open vSwitch agent', 'neutron-openvswitch-agent', 'N/A', '{host}', 1,"
        f" UTC_TIMESTAMP(), UTC_TIMESTAMP(), UTC_TIMESTAMP(), '{found}', 0, 1);",
    )
    try:
        yield
    finally:
        cloud.machine.run("mariadb", "neutron", stdin=f"DELETE FROM agents WHERE host = '{host}';")


def test_port_is_bound_to_the_agent_of_this_host(controller: Controller) -> None:
    """Where Neutron's agent calls the host by a name with a domain, the port is bound by that."""
    with agent(controller.cloud, "other"), agent(controller.cloud, "ctl1.example.org"):
        apply(controller.step())
        assert apply(controller.step()) == []
        (port,) = controller.ports(name=PORT)
        assert (port["binding_host_id"], port["binding_vif_type"]) == ("ctl1.example.org", "ovs")


def test_host_without_an_agent_is_refused(controller: Controller) -> None:
    """Where agents run on other hosts alone, the error names these, and no port is made."""
    with (
        agent(controller.cloud, "ctl10"),
        pytest.raises(ControllerError, match=r"no agent of Neutron runs on ctl1; .* ctl10"),
    ):
        apply(controller.step())
    assert controller.ports(name=PORT) == []


def test_address_outside_is_refused(controller: Controller) -> None:
    """A management address that no subnet has is refused before anything changes."""
    controllers = [{"name": "ctl1", "management_ip": "198.51.100.1"}]
    with pytest.raises(ControllerError, match=r"no subnet of 198\.51\.100\.1"):
        apply(controller.step(controllers=controllers))


def test_dry_run_works_before_the_network_is_there(controller: Controller) -> None:
    """A dry run tells port, files and commands with ids in angle brackets, and makes nothing."""
    changes: dict[str, Any] = {"management": {"network": {"name": "lb-later", "subnets": SUBNETS}}}
    step = controller.step(dry_run=True, **changes)
    told = "\n".join(f"{change.what}\n{change.detail}" for change in step.changes())
    assert "<id of subnet lb-mgmt-subnet>" in told
    assert f'external_ids:iface-id="<id of port {PORT}>"' in told
    assert controller.ports(name=PORT) == []
    assert not any(controller.directory.joinpath("units").iterdir())
