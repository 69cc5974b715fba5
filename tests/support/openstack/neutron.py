# SPDX-License-Identifier: Apache-2.0
"""Neutron's API with ML2 and no agents: ports are made and stay down."""

from tests.support.openstack import database, service
from tests.support.openstack.machine import Machine

PORT = 9696


def start(machine: Machine) -> None:
    """Start Neutron; it is not awaited."""
    machine.write(
        "/etc/neutron/neutron.conf",
        service.ini(
            {
                "DEFAULT": {
                    "core_plugin": "ml2",
                    "service_plugins": "",
                    "transport_url": service.TRANSPORT,
                    "notify_nova_on_port_status_changes": "false",
                    "notify_nova_on_port_data_changes": "false",
                },
                "database": {"connection": database.url("neutron")},
                "keystone_authtoken": service.token_check("neutron"),
                "ml2": {
                    "type_drivers": "flat,vxlan",
                    "tenant_network_types": "vxlan",
                    "mechanism_drivers": "openvswitch",
                    "extension_drivers": "port_security",
                },
                "ml2_type_flat": {"flat_networks": "physical"},
                "ml2_type_vxlan": {"vni_ranges": "1:1000"},
                "oslo_concurrency": {"lock_path": "/var/lib/neutron/lock"},
            }
        ),
    )
    service.start(machine, "neutron", program="/usr/bin/neutron-api", port=PORT, user="neutron")
