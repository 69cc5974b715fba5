# SPDX-License-Identifier: Apache-2.0
"""What Keystone has to know of the other services, and of the cloud's tenants."""

from openstack.connection import Connection
from openstack.identity.v3._proxy import Proxy as Identity

from tests.support.openstack import glance, neutron, nova, service

# Name of a service and its user, type, address.
_SERVICES = (
    ("glance", "image", f"http://127.0.0.1:{glance.PORT}"),
    ("neutron", "network", f"http://127.0.0.1:{neutron.PORT}"),
    ("nova", "compute", f"http://127.0.0.1:{nova.PORT}/v2.1"),
)
_INTERFACES = ("admin", "internal", "public")


def register_services(admin: Connection) -> str:
    """Make the catalogue, the services' own users, and the limits of images.

    Returns:
        Id of Glance's public endpoint.
    """
    keystone = identity(admin)
    project = keystone.create_project(name=service.PROJECT, domain_id="default").id
    roles = {role.name: role.id for role in keystone.roles()}
    for name, kind, url in _SERVICES:
        entry = keystone.create_service(name=name, type=kind).id
        for interface in _INTERFACES:
            keystone.create_endpoint(
                service_id=entry, interface=interface, url=url, region_id=service.REGION
            )
        user = keystone.create_user(name=name, password=service.PASSWORD, domain_id="default").id
        for role in ("admin", "service"):
            keystone.assign_project_role_to_user(project, user, roles[role])
        keystone.assign_system_role_to_user(user, roles["reader"], "all")
    image = _find_glance(keystone)
    for resource, limit in glance.LIMITS.items():
        keystone.create_registered_limit(
            service_id=image,
            region_id=service.REGION,
            resource_name=resource,
            default_limit=limit,
        )
    (endpoint,) = keystone.endpoints(service_id=image, interface="public")
    return str(endpoint.id)


def create_tenant(admin: Connection, name: str, password: str, roles: tuple[str, ...]) -> str:
    """Make a project and a user of the same name in it; the id of the project."""
    keystone = identity(admin)
    project = keystone.create_project(name=name, domain_id="default").id
    user = keystone.create_user(name=name, password=password, domain_id="default").id
    ids = {role.name: role.id for role in keystone.roles()}
    for role in roles:
        keystone.assign_project_role_to_user(project, user, ids[role])
    return str(project)


def exhaust(admin: Connection, project: str) -> None:
    """Leave a project nothing: no image, no network, no keypair."""
    keystone = identity(admin)
    image = _find_glance(keystone)
    for resource in glance.LIMITS:
        keystone.create_limit(
            service_id=image,
            region_id=service.REGION,
            project_id=project,
            resource_name=resource,
            resource_limit=0,
        )
    admin.network.update_quota(
        project, networks=0, subnets=0, ports=0, security_groups=0, security_group_rules=0
    )
    admin.set_compute_quotas(project, key_pairs=0)


def identity(admin: Connection) -> Identity:
    """Its type says version 2 as well, which Keystone has no more."""
    assert isinstance(admin.identity, Identity)
    return admin.identity


def _find_glance(keystone: Identity) -> str:
    found = keystone.find_service("glance", ignore_missing=False)
    return str(found.id)
