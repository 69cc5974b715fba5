# SPDX-License-Identifier: Apache-2.0
"""The cloud itself: it does what tests of amphoractl take for granted."""

import hashlib
import itertools
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack import exceptions
from openstack.connection import Connection

from tests.openstack.conftest import need_programs
from tests.support import waiting
from tests.support.netns import Namespace, namespace, run
from tests.support.openstack import cloud as lab
from tests.support.openstack import keystone, service
from tests.support.openstack.cloud import Cloud
from tests.support.openstack.registry import identity

REPOSITORY = Path(__file__).resolve().parents[2]
# Glance looks into what is uploaded; this is no known format, thus raw.
IMAGE = b"an image of no known format" * 1000


@pytest.fixture
def admin(cloud: Cloud) -> Iterator[Connection]:
    """The administrator."""
    with cloud.connection(cloud.name) as made:
        yield made


@pytest.fixture
def member(cloud: Cloud) -> Iterator[Connection]:
    """A user with no rights beyond a project."""
    with cloud.connection(cloud.unprivileged) as made:
        yield made


@pytest.fixture
def full(cloud: Cloud) -> Iterator[Connection]:
    """An administrator whose project has no quota left."""
    with cloud.connection(cloud.exhausted) as made:
        yield made


@pytest.fixture
def name() -> str:
    """A name that nothing has."""
    return f"test-{secrets.token_hex(4)}"


def test_token_needs_the_right_password(cloud: Cloud) -> None:
    """Keystone gives the administrator a token, and refuses a wrong password."""
    with cloud.connection(cloud.name) as made:
        assert made.authorize()
    wrong = cloud.clouds_yaml.with_name("wrong.yaml")
    text = cloud.clouds_yaml.read_text()
    wrong.write_text(text.replace(keystone.ADMIN_PASSWORD, "another"))
    with (
        lab.connection(wrong, cloud.name, cloud.namespace) as made,
        pytest.raises(exceptions.SDKException, match="requires authentication"),
    ):
        made.authorize()


def test_catalogue_has_all_services(admin: Connection) -> None:
    """The catalogue names the services that a load balancer's controller needs, and no others."""
    kinds = {entry.type for entry in identity(admin).services()}
    assert kinds == {"compute", "identity", "image", "network"}


def test_image_keeps_its_content_and_tag(admin: Connection, name: str) -> None:
    """An uploaded image is active, is found by its tag, and comes back as it was."""
    made = admin.image.create_image(
        name, data=IMAGE, disk_format="raw", container_format="bare", tags=[name], wait=True
    )
    try:
        (found,) = admin.image.images(tag=name)
        assert (found.id, found.status, found.size) == (made.id, "active", len(IMAGE))
        assert found.hash_value == hashlib.sha512(IMAGE).hexdigest()
        assert admin.image.download_image(found.id).content == IMAGE
        assert list(admin.image.images(tag=f"{name}-other")) == []
    finally:
        admin.image.delete_image(made.id)


def test_port_has_an_address_of_its_subnet(admin: Connection, name: str) -> None:
    """A port gets the address asked for, which a second one cannot have."""
    network = admin.network.create_network(name=name)
    try:
        admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="192.0.2.0/24")
        wanted = [{"ip_address": "192.0.2.7"}]
        port = admin.network.create_port(network_id=network.id, fixed_ips=wanted)
        assert port.fixed_ips[0]["ip_address"] == "192.0.2.7"
        with pytest.raises(exceptions.ConflictException):
            admin.network.create_port(network_id=network.id, fixed_ips=wanted)
        admin.network.delete_port(port)
    finally:
        admin.network.delete_network(network)


def test_keypair_and_flavor_have_names_of_their_own(admin: Connection, name: str) -> None:
    """A keypair and a private flavor can be made, and none of the same name beside them."""
    keypair = admin.compute.create_keypair(name=name)
    flavor = admin.compute.create_flavor(name=name, ram=1024, vcpus=1, disk=2, is_public=False)
    try:
        assert admin.compute.get_keypair(name).fingerprint == keypair.fingerprint
        assert admin.compute.get_flavor(flavor.id).ram == 1024
        with pytest.raises(exceptions.ConflictException):
            admin.compute.create_keypair(name=name)
        with pytest.raises(exceptions.ConflictException):
            admin.compute.create_flavor(name=name, ram=1024, vcpus=1, disk=2)
    finally:
        admin.compute.delete_keypair(keypair)
        admin.compute.delete_flavor(flavor)


def test_member_may_do_nothing_beyond_the_project(member: Connection, name: str) -> None:
    """A mere member makes a network, but no user, no flavor and no port of a certain host."""
    network = member.network.create_network(name=name)
    try:
        with pytest.raises(exceptions.ForbiddenException):
            member.network.create_port(network_id=network.id, binding_host_id="controller")
    finally:
        member.network.delete_network(network)
    with pytest.raises(exceptions.ForbiddenException):
        member.compute.create_flavor(name=name, ram=1024, vcpus=1, disk=2)
    with pytest.raises(exceptions.ForbiddenException):
        member.identity.create_user(name=name)


def test_full_project_gets_nothing_more(full: Connection, name: str) -> None:
    """Where the quota is exhausted, Neutron, Nova and Glance say so; a flavor has none."""
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded"):
        full.network.create_network(name=name)
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded"):
        full.network.create_security_group(name=name)
    with pytest.raises(exceptions.ForbiddenException, match="Quota exceeded"):
        full.compute.create_keypair(name=name)
    with pytest.raises(exceptions.HttpException, match="over limit of 0"):
        full.image.create_image(name, data=IMAGE, disk_format="raw", container_format="bare")
    flavor = full.compute.create_flavor(name=name, ram=1024, vcpus=1, disk=2)
    full.compute.delete_flavor(flavor)


def test_cloud_is_unreachable_from_outside(cloud: Cloud) -> None:
    """Keystone takes connections in the cloud's namespace and nowhere else."""
    address = ("127.0.0.1", service.KEYSTONE_PORT)
    with cloud.namespace.entered(), socket.create_connection(address, timeout=10):
        pass
    with namespace("beside") as beside, beside.entered(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)


def test_nothing_runs_and_nothing_is_mounted_afterwards(tmp_path: Path) -> None:
    """A second cloud beside the first works, and leaves no process, mount or namespace behind."""
    need_programs()
    before = _mounts()
    with lab.cloud(tmp_path) as second:
        pids = second.namespace.pids()
        assert len(pids) > 5
        with second.connection(second.name) as admin:
            assert list(admin.network.networks()) == []
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not Path("/run/netns", second.namespace.name).exists()
    assert not (tmp_path / "scratch").exists()
    assert _mounts() == before


def test_no_process_outlives_a_killed_test(tmp_path: Path) -> None:
    """A cloud whose starter is killed ends by itself, with every process of its own."""
    need_programs()
    starter = subprocess.Popen(
        [sys.executable, "-m", "tests.support.openstack", str(tmp_path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        said = "".join(itertools.islice(starter.stdout, 3))
        (name,) = re.findall(r"ip netns exec (\S+)", said)
        left = Namespace(name=name)
        assert len(left.pids()) > 5
        starter.kill()
    try:
        waiting.until(
            "the cloud to end",
            lambda: None if left.pids() else True,
            deadline_s=10,
            every_s=0.1,
        )
    finally:
        run("ip", "netns", "delete", name)


def _mounts() -> list[str]:
    """What is mounted in the test's own mount namespace, of the cloud's kind."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [mount for mount in mounts if mount.startswith(("overlay", "nsfs"))]
