# SPDX-License-Identifier: Apache-2.0
"""Nova's API alone, for keypairs and flavors: there is no cell, so no server can be made."""

from tests.support.openstack import database, service
from tests.support.openstack.machine import Machine

PORT = 8774


def start(machine: Machine) -> None:
    """Start Nova; it is not awaited."""
    machine.write(
        "/etc/nova/nova.conf",
        service.ini(
            {
                "DEFAULT": {"my_ip": "127.0.0.1", "transport_url": service.TRANSPORT},
                "api_database": {"connection": database.url("nova_api")},
                "database": {"connection": database.url("nova")},
                "keystone_authtoken": service.token_check("nova"),
                "service_user": {
                    **service.credentials("nova"),
                    "send_service_user_token": "true",
                },
                "oslo_concurrency": {"lock_path": "/var/lib/nova/lock"},
            }
        ),
    )
    service.start(machine, "nova", program="/usr/bin/nova-api-wsgi", port=PORT, user="nova")
