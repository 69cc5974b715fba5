# SPDX-License-Identifier: Apache-2.0
"""Documents of API 2.0 as keepalived configurations, by Octavia's own renderers.

Run as `python -m tests.support.octavia_keepalived` by the interpreter of Octavia's virtual
environment. Standard input is a JSON array of documents with every field spelled out. The answer is
a JSON array with {"vrrp": {amphora id: text}, "lvs": {listener id: text}} for each.
"""
# Octavia is not installed where types are checked.
# mypy: disable-error-code="import-not-found"

import json
import sys
from typing import Any

from octavia.amphorae.drivers.keepalived.jinja import jinja_cfg as vrrp_jinja
from octavia.common import config, constants, data_models
from octavia.common.jinja.lvs import jinja_cfg as lvs_jinja
from oslo_config import cfg

Description = dict[str, Any]

_PRIORITIES = {
    constants.ROLE_MASTER: constants.ROLE_MASTER_PRIORITY,
    constants.ROLE_BACKUP: constants.ROLE_BACKUP_PRIORITY,
}
_LVS = (constants.PROTOCOL_UDP, "SCTP")


def render(document: Description) -> Description:
    """The texts of one document."""
    balancer = _load_balancer(document)
    networks = {
        constants.VIP_SUBNET: _subnet(document["vip"]),
        "additional_vip_data": [
            {"ip_address": vip["address"], "subnet": _subnet(vip)}
            for vip in document["additional_vips"]
        ],
    }
    vrrp = {}
    if document["vrrp"] is not None:
        _configure(document["vrrp"])
        templater = vrrp_jinja.KeepalivedJinjaTemplater()
        vrrp = {
            amphora.id: templater.build_keepalived_config(balancer, amphora, networks)
            for amphora in balancer.amphorae
        }
    lvs = {
        listener.id: lvs_jinja.LvsJinjaTemplater().build_config(listener)
        for listener in balancer.listeners
        if listener.protocol in _LVS
    }
    return {"vrrp": vrrp, "lvs": lvs}


def _configure(group: Description) -> None:
    for name, value in {
        "vrrp_check_interval": group["check_interval_s"],
        "vrrp_fail_count": group["check_fall"],
        "vrrp_success_count": group["check_rise"],
        "vrrp_garp_refresh_interval": group["garp_refresh_interval_s"],
        "vrrp_garp_refresh_count": group["garp_refresh_count"],
    }.items():
        cfg.CONF.set_override(name, value, group="keepalived_vrrp")


def _load_balancer(document: Description) -> Any:
    group = document["vrrp"]
    pools = {pool["id"]: _pool(pool) for pool in document["pools"]}
    balancer = data_models.LoadBalancer(
        id=document["id"],
        enabled=document["enabled"],
        vip=data_models.Vip(ip_address=document["vip"]["address"]),
        additional_vips=[
            data_models.AdditionalVip(ip_address=vip["address"])
            for vip in document["additional_vips"]
        ],
        amphorae=[_amphora(item) for item in document["amphorae"]],
        vrrp_group=group
        and data_models.VRRPGroup(
            vrrp_group_name=document["id"].replace("-", ""),
            vrrp_auth_type="PASS",
            vrrp_auth_pass=group["authentication"],
            advert_int=group["advert_interval_ms"] // 1000,
        ),
    )
    balancer.listeners = [
        data_models.Listener(
            id=item["id"],
            load_balancer=balancer,
            protocol=item["protocol"],
            protocol_port=item["port"],
            enabled=item["enabled"],
            connection_limit=item["connection_limit"],
            default_pool=pools.get(item["default_pool"]),
        )
        for item in document["listeners"]
    ]
    return balancer


def _amphora(description: Description) -> Any:
    priority = description["priority"]
    return data_models.Amphora(
        id=description["id"],
        status=constants.AMPHORA_ALLOCATED,
        vrrp_ip=description["vrrp_ip"],
        vrrp_interface="eth1",
        vrrp_id=1,
        vrrp_priority=_PRIORITIES[description["role"]] if priority is None else priority,
    )


def _subnet(vip: Description) -> Description:
    return {
        "cidr": vip["subnet"],
        "gateway_ip": vip["gateway"],
        "host_routes": vip["host_routes"],
    }


def _pool(description: Description) -> Any:
    monitor = description["health_monitor"]
    persistence = description["session_persistence"]
    return data_models.Pool(
        id=description["id"],
        protocol=description["protocol"],
        lb_algorithm=description["algorithm"],
        enabled=description["enabled"],
        members=[_member(item) for item in description["members"]],
        health_monitor=monitor
        and data_models.HealthMonitor(
            id=description["id"],
            type=monitor["type"],
            delay=monitor["delay_s"],
            timeout=monitor["timeout_s"],
            fall_threshold=monitor["fall_threshold"],
            rise_threshold=monitor["rise_threshold"],
            enabled=monitor["enabled"],
            http_method=monitor["http_method"],
            url_path=monitor["url_path"] or "/",
            expected_codes=monitor["expected_codes"] or "200",
        ),
        session_persistence=persistence
        and data_models.SessionPersistence(
            type=persistence["type"],
            persistence_timeout=persistence["timeout_s"],
            persistence_granularity=persistence["granularity"],
        ),
    )


def _member(description: Description) -> Any:
    return data_models.Member(
        id=description["id"],
        ip_address=description["address"],
        protocol_port=description["port"],
        weight=description["weight"],
        enabled=description["enabled"],
        monitor_address=description["monitor_address"],
        monitor_port=description["monitor_port"],
    )


if __name__ == "__main__":
    config.init([])
    json.dump([render(document) for document in json.load(sys.stdin)], sys.stdout)
