# SPDX-License-Identifier: Apache-2.0
"""Keystone: the first service, that makes its own administrator."""

from tests.support.openstack import database, service
from tests.support.openstack.machine import Machine

ADMIN_PASSWORD = "admin-secret"


def start(machine: Machine) -> None:
    """Start Keystone with an administrator "admin", and wait for it."""
    machine.write(
        "/etc/keystone/keystone.conf",
        service.ini(
            {
                "database": {"connection": database.url("keystone")},
                "token": {"provider": "fernet"},
                "cache": {
                    "enabled": "true",
                    "backend": "oslo_cache.memcache_pool",
                    "memcache_servers": database.MEMCACHED,
                },
            }
        ),
    )
    owner = ("--keystone-user", "keystone", "--keystone-group", "keystone")
    machine.run("keystone-manage", "fernet_setup", *owner)
    machine.run("keystone-manage", "credential_setup", *owner)
    machine.run(
        *("keystone-manage", "bootstrap", "--bootstrap-password", ADMIN_PASSWORD),
        *("--bootstrap-public-url", service.KEYSTONE_URL),
        *("--bootstrap-internal-url", service.KEYSTONE_URL),
        *("--bootstrap-admin-url", service.KEYSTONE_URL),
        *("--bootstrap-region-id", service.REGION),
    )
    service.start(
        machine,
        "keystone",
        program="/usr/bin/keystone-wsgi-public",
        port=service.KEYSTONE_PORT,
        user="keystone",
    )
    service.await_answer(machine, "keystone", service.KEYSTONE_PORT)
