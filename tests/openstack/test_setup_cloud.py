# SPDX-License-Identifier: Apache-2.0
"""The door to the cloud: lists that come in pages, and what is not there."""

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from amphora_controller.setup import cloud as door
from amphora_controller.setup.cloud import Service
from tests.support.openstack.cloud import Cloud


@pytest.fixture
def administrator(cloud: Cloud) -> Iterator[door.Cloud]:
    """The door, with the calling thread inside the cloud's namespace."""
    with (
        cloud.namespace.entered(),
        mock.patch.dict(os.environ, {"OS_CLIENT_CONFIG_FILE": str(cloud.clouds_yaml)}),
    ):
        yield door.Cloud(cloud.name)


def test_list_in_pages_is_whole(administrator: door.Cloud, cloud: Cloud) -> None:
    """Glance, Neutron and Nova give one resource a page, and each list has all three."""
    names = {f"page-{index}" for index in range(3)}
    with cloud.connection(cloud.name) as admin:
        for name in names:
            admin.image.create_image(name, disk_format="raw", container_format="bare")
            admin.network.create_network(name=name)
            admin.compute.create_flavor(name=name, ram=1, vcpus=1, disk=1)
        try:
            for service, path in (
                (Service.IMAGE, "/images"),
                (Service.NETWORK, "/networks"),
                (Service.COMPUTE, "/flavors/detail"),
            ):
                found = [each["name"] for each in administrator.find_all(service, path, limit="1")]
                assert sorted(found) == sorted(names), service
        finally:
            for image in admin.image.images():
                admin.image.delete_image(image.id)
            for network in admin.network.networks():
                admin.network.delete_network(network.id)
            for flavor in admin.compute.flavors():
                admin.compute.delete_flavor(flavor.id)


def test_what_is_not_there_is_none(administrator: door.Cloud) -> None:
    """A resource that is not there is None, one that is there is told."""
    (project,) = administrator.find_all(Service.IDENTITY, "/projects", name="service")
    found = administrator.find(Service.IDENTITY, f"/projects/{project['id']}")
    assert found is not None
    assert found["project"]["name"] == "service"
    assert administrator.find(Service.IDENTITY, "/projects/none") is None
