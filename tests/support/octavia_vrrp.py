# SPDX-License-Identifier: Apache-2.0
"""VRRP configurations of a pair, by Octavia's own renderer.

Run as `python -m tests.support.octavia_vrrp` by the interpreter of Octavia's virtual environment.
Standard input is one JSON object: {"vip", "subnet", "gateway", "check_interval_s", "amphorae":
[{"address", "base"}, ...]}, the first amphora being the one of role MASTER. The answer is a JSON
array with a text for each.
"""
# Octavia is not installed where types are checked.
# mypy: disable-error-code="import-not-found"

import json
import sys
from typing import Any

from octavia.amphorae.drivers.keepalived.jinja import jinja_cfg
from octavia.common import config, constants, data_models
from oslo_config import cfg


def render(description: dict[str, Any]) -> list[str]:
    """A text for each amphora."""
    config.init([])
    cfg.CONF.set_override(
        "vrrp_check_interval", description["check_interval_s"], group="keepalived_vrrp"
    )
    priorities = (constants.ROLE_MASTER_PRIORITY, constants.ROLE_BACKUP_PRIORITY)
    amphorae = [
        data_models.Amphora(
            id=item["address"],
            status=constants.AMPHORA_ALLOCATED,
            vrrp_ip=item["address"],
            vrrp_interface="eth1",
            vrrp_id=1,
            vrrp_priority=priority,
        )
        for item, priority in zip(description["amphorae"], priorities, strict=True)
    ]
    balancer = data_models.LoadBalancer(
        vip=data_models.Vip(ip_address=description["vip"]),
        amphorae=amphorae,
        vrrp_group=data_models.VRRPGroup(
            vrrp_group_name="4e43f3c7c0f644c78dabe2fc8ed16e0f",
            vrrp_auth_type="PASS",
            vrrp_auth_pass="1a2b3c4",
            advert_int=1,
        ),
    )
    subnet = {
        "cidr": description["subnet"],
        "gateway_ip": description["gateway"],
        "host_routes": [],
    }
    networks = {constants.VIP_SUBNET: subnet, "additional_vip_data": []}
    texts = []
    for item, amphora in zip(description["amphorae"], amphorae, strict=True):
        cfg.CONF.set_override("base_path", item["base"], group="haproxy_amphora")
        templater = jinja_cfg.KeepalivedJinjaTemplater()
        texts.append(templater.build_keepalived_config(balancer, amphora, networks))
    return texts


if __name__ == "__main__":
    json.dump(render(json.load(sys.stdin)), sys.stdout)
