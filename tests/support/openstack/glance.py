# SPDX-License-Identifier: Apache-2.0
"""Glance, with its images in a directory and its quotas in Keystone (unified limits)."""

from tests.support.openstack import database, service
from tests.support.openstack.machine import Machine

PORT = 9292
# Registered limits, each with what a project gets that has none of its own; sizes in MiB.
LIMITS = {
    "image_size_total": 10_000,
    "image_stage_total": 10_000,
    "image_count_total": 1_000,
    "image_count_uploading": 100,
}


def start(machine: Machine, endpoint_id: str) -> None:
    """Start Glance; it is not awaited.

    Args:
        endpoint_id: of Glance itself. oslo.limit 2.6 fails where it has to find that by type and
            region (it takes len() of a generator of openstacksdk).
    """
    machine.write(
        "/etc/glance/glance-api.conf",
        service.ini(
            {
                "DEFAULT": {"enabled_backends": "file:file", "use_keystone_limits": "true"},
                "database": {"connection": database.url("glance")},
                "glance_store": {"default_backend": "file"},
                "file": {"filesystem_store_datadir": "/var/lib/glance/images"},
                "keystone_authtoken": service.token_check("glance"),
                "oslo_limit": {
                    **service.limits_reader("glance"),
                    "endpoint_id": endpoint_id,
                },
                "paste_deploy": {"flavor": "keystone"},
            }
        ),
    )
    service.start(machine, "glance", program="/usr/bin/glance-wsgi-api", port=PORT, user="glance")
