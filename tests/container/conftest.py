# SPDX-License-Identifier: Apache-2.0
"""Amphorae in containers: the image's root file system with the image's systemd."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.conftest import HEARTBEAT_KEY, authorities, image, keys, networks
from tests.support import container, heartbeats, lab, waiting
from tests.support.container import Container, Disk
from tests.support.guest import MGMT_NIC, Plan
from tests.support.lab import Lab
from tests.support.mutual_tls import RefusedError
from tests.support.octavia_driver import ControllerConfig, Octavia, octavia
from tests.support.pki import Pki
from tests.support.ssh import KeyPair

__all__ = ["authorities", "image", "keys", "networks"]

VIP_MAC = "fa:16:3e:00:00:02"
MEMBER_MAC = "fa:16:3e:00:00:03"
_BOOT_DEADLINE_S = 60


@dataclass(frozen=True, kw_only=True)
class Yard:
    """Where containers are booted."""

    disk: Disk
    controller: Octavia

    @contextmanager
    def boot(self, plan: Plan, directory: Path) -> Iterator[Container]:
        """An amphora that answers; a second boot in the same directory is one after a power cut."""
        inside = plan.networks.namespace
        if not (directory / "upper").exists():
            drive = plan.drive(self.controller, server_pem=plan.pki.amphora_pem(plan.amphora.id))
            container.inject(drive, directory / "upper")
        inside.add_nic("mgmt0", mac=MGMT_NIC.mac, mtu=lab.MTU, bridge=lab.MGMT_BRIDGE)
        with container.boot(self.disk, directory, inside=inside, nic="mgmt0") as booted:
            client = plan.client(plan.pki.controller, timeout_s=5)

            def probe() -> bool | None:
                try:
                    return client.get("//")[0] == 200 or None
                except (OSError, RefusedError):
                    return None

            waiting.until("the agent", probe, deadline_s=_BOOT_DEADLINE_S, every_s=0.1)
            yield booted


@pytest.fixture(scope="session")
def controller(
    networks: Lab, authorities: Pki, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Octavia]:
    """Octavia's driver, inside the lab."""
    config = ControllerConfig(
        directory=tmp_path_factory.mktemp("octavia"),
        pki=authorities,
        heartbeat_key=HEARTBEAT_KEY,
        heartbeat_targets=((networks.controller, heartbeats.PORT),),
        # Each connection needs two descriptors, and hosts may forbid a container the number that
        # the usual 50,000 need.
        haproxy_amphora={"default_connection_limit": "2000"},
    )
    with octavia(config, networks.namespace) as peer:
        yield peer


@pytest.fixture(scope="session")
def yard(image: Path, controller: Octavia, tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """The image, unpacked once."""
    disk = container.raw_disk(image, tmp_path_factory.mktemp("disk"))
    return Yard(disk=disk, controller=controller)


@pytest.fixture(scope="module")
def plan(networks: Lab, authorities: Pki, keys: KeyPair) -> Plan:
    """An amphora of the module's own."""
    return Plan(networks=networks, pki=authorities, keys=keys)


def member_network(networks: Lab) -> str:
    """A bridge for members, with the address of their router; its name."""
    name = f"br-{uuid.uuid4().hex[:6]}"
    networks.namespace.ip("link", "add", name, "type", "bridge")
    networks.namespace.ip("link", "set", name, "up")
    return name
