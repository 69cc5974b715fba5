# SPDX-License-Identifier: Apache-2.0
"""Descriptions from tests.support.balancer, as the objects that Octavia's driver works on.

Runs in the virtual environment of Octavia only. No database is behind these objects.
"""
# Octavia is not installed where types are checked.
# mypy: disable-error-code="import-not-found"

from typing import Any

from octavia.common import constants, data_models
from octavia.network import data_models as network_models

Description = dict[str, Any]

PROJECT_ID = "0123456789abcdef0123456789abcdef"
_VRRP_PORT = "vrrp-port"


def amphora(description: Description) -> Any:
    """An allocated amphora whose API version is not known yet."""
    is_backup = description["role"] == constants.ROLE_BACKUP
    return data_models.Amphora(
        id=description["id"],
        status=constants.AMPHORA_ALLOCATED,
        lb_network_ip=description["management_address"],
        vrrp_ip=description["vrrp_address"],
        vrrp_port_id=_VRRP_PORT,
        # What the controller stores of the answer to GET interface.
        vrrp_interface="eth1",
        vrrp_id=1,
        vrrp_priority=(
            constants.ROLE_BACKUP_PRIORITY if is_backup else constants.ROLE_MASTER_PRIORITY
        ),
        role=description["role"],
    )


def load_balancer(description: Description) -> Any:
    """A load balancer with its amphorae, listeners, pools and members, linked both ways.

    The amphora that operations act on is the first one.
    """
    amphorae = [amphora(description["amphora"])]
    if description["peer"]:
        amphorae.append(amphora(description["peer"]))
    is_pair = len(amphorae) > 1
    balancer = data_models.LoadBalancer(
        id=description["id"],
        project_id=PROJECT_ID,
        enabled=True,
        topology=constants.TOPOLOGY_ACTIVE_STANDBY if is_pair else constants.TOPOLOGY_SINGLE,
        provisioning_status=constants.ACTIVE,
        vip=data_models.Vip(
            load_balancer_id=description["id"],
            ip_address=description["vip"],
            vnic_type=constants.VNIC_TYPE_NORMAL,
        ),
        amphorae=amphorae,
        vrrp_group=data_models.VRRPGroup(
            load_balancer_id=description["id"],
            vrrp_group_name=description["id"].replace("-", ""),
            vrrp_auth_type="PASS",
            vrrp_auth_pass="1a2b3c4",
            advert_int=1,
        ),
    )
    for host in balancer.amphorae:
        host.load_balancer = balancer
        host.ha_ip = description["vip"]
    balancer.listeners = [_listener(balancer, item) for item in description["listeners"]]
    return balancer


def vip_subnet(port: Description) -> Any:
    """The subnet of the VIP, or that of a member's port."""
    return network_models.Subnet(
        cidr=port["subnet"],
        gateway_ip=port["gateway"],
        host_routes=[
            network_models.HostRoute(destination=route["destination"], nexthop=route["nexthop"])
            for route in port.get("host_routes", ())
        ],
    )


def vrrp_port(port: Description) -> Any:
    """The port that Nova attached for the VIP."""
    return network_models.Port(
        id=_VRRP_PORT, mac_address=port["mac"], network=network_models.Network(mtu=port["mtu"])
    )


def member_port(port: Description) -> Any:
    """A port of a member network, or that of the VIP with members' addresses."""
    subnet = vip_subnet(port)
    return network_models.Port(
        id=_VRRP_PORT if port["vip"] else "member-port",
        mac_address=port["mac"],
        network=network_models.Network(mtu=port["mtu"]),
        fixed_ips=[
            network_models.FixedIP(ip_address=address, subnet=subnet)
            for address in port["addresses"]
        ],
    )


def network_config(port: Description) -> dict[str, Any]:
    """What the controller knows of the networks of one amphora."""
    return {
        constants.VIP_SUBNET: vip_subnet(port).to_dict(recurse=True),
        "additional_vip_data": [],
    }


def _listener(balancer: Any, description: Description) -> Any:
    listener = data_models.Listener(
        id=description["id"],
        project_id=PROJECT_ID,
        load_balancer=balancer,
        load_balancer_id=balancer.id,
        protocol=description["protocol"],
        protocol_port=description["port"],
        enabled=description["enabled"],
        provisioning_status=constants.ACTIVE,
        peer_port=constants.HAPROXY_BASE_PEER_PORT,
        tls_certificate_id=next(iter(description["certificates"]), None),
        tls_versions=["TLSv1.2", "TLSv1.3"] if description["certificates"] else None,
        sni_containers=[
            data_models.SNI(listener_id=description["id"], tls_container_id=reference)
            for reference in description["certificates"][1:]
        ],
    )
    if listener.protocol == "PROMETHEUS":
        return listener
    pool = _pool(balancer, listener, description["pool"])
    listener.pools = [pool]
    listener.default_pool = pool
    listener.default_pool_id = pool.id
    balancer.pools.append(pool)
    listener.l7policies = [
        _rejection(listener, position, item)
        for position, item in enumerate(description["policies"], start=1)
    ]
    return listener


def _rejection(listener: Any, position: int, description: Description) -> Any:
    policy = data_models.L7Policy(
        id=description["id"],
        listener=listener,
        listener_id=listener.id,
        action=constants.L7POLICY_ACTION_REJECT,
        position=position,
        enabled=True,
        provisioning_status=constants.ACTIVE,
    )
    policy.l7rules = [
        data_models.L7Rule(
            id=f"rule-{description['id']}",
            l7policy=policy,
            type=constants.L7RULE_TYPE_PATH,
            compare_type=constants.L7RULE_COMPARE_TYPE_STARTS_WITH,
            value=description["prefix"],
            enabled=True,
            provisioning_status=constants.ACTIVE,
        )
    ]
    return policy


def _pool(balancer: Any, listener: Any, description: Description) -> Any:
    pool = data_models.Pool(
        id=description["id"],
        project_id=PROJECT_ID,
        load_balancer=balancer,
        load_balancer_id=balancer.id,
        listeners=[listener],
        protocol=description["protocol"],
        lb_algorithm=description["lb_algorithm"],
        enabled=True,
        tls_enabled=False,
        provisioning_status=constants.ACTIVE,
    )
    pool.members = [_member(pool, item) for item in description["members"]]
    if description["monitor"]:
        pool.health_monitor = _monitor(pool, description["monitor"])
    return pool


def _monitor(pool: Any, description: Description) -> Any:
    return data_models.HealthMonitor(
        id=description["id"],
        project_id=PROJECT_ID,
        pool=pool,
        pool_id=pool.id,
        type=description["type"],
        delay=description["delay"],
        timeout=description["timeout"],
        fall_threshold=description["fall"],
        rise_threshold=description["rise"],
        enabled=True,
        provisioning_status=constants.ACTIVE,
    )


def _member(pool: Any, description: Description) -> Any:
    return data_models.Member(
        id=description["id"],
        project_id=PROJECT_ID,
        pool=pool,
        pool_id=pool.id,
        ip_address=description["address"],
        protocol_port=description["port"],
        weight=description["weight"],
        enabled=description["enabled"],
        backup=False,
        provisioning_status=constants.ACTIVE,
    )
