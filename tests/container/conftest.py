# SPDX-License-Identifier: Apache-2.0
"""Amphorae in containers: the image's root file system with the image's systemd."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.conftest import HEARTBEAT_KEY, authorities, image, keys, networks
from tests.support import container, heartbeats
from tests.support.guest import Plan
from tests.support.lab import Lab
from tests.support.octavia_driver import ControllerConfig, Octavia, octavia
from tests.support.pki import Pki
from tests.support.ssh import KeyPair
from tests.support.yard import Yard

__all__ = ["authorities", "image", "keys", "networks"]

VIP_MAC = "fa:16:3e:00:00:02"
MEMBER_MAC = "fa:16:3e:00:00:03"


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
    """A bridge for members without an address of its own; its name."""
    name = f"br-{uuid.uuid4().hex[:6]}"
    networks.namespace.ip("link", "add", name, "type", "bridge")
    networks.namespace.ip("link", "set", name, "up")
    return name
