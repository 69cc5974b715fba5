# SPDX-License-Identifier: Apache-2.0
"""Documents of API 2.0 as haproxy.cfg, by Octavia's own renderer.

Run as `python -m tests.support.octavia_haproxy` by the interpreter of Octavia's virtual
environment. Standard input is a JSON object: `documents`, with every field spelled out, `machine`
({"cpu_count", "active_tuned_profiles", "memory": {"free", "buffers", "cached"}}) and `warm_up`,
whether one listener is rendered before all else. The answer is {"texts": [one for each document],
"seconds": what rendering took}.
"""
# Octavia is not installed where types are checked.
# mypy: disable-error-code="import-not-found"

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from octavia.common import config, constants, data_models
from octavia.common.jinja.haproxy.combined_listeners import jinja_cfg
from oslo_config import cfg

Description = dict[str, Any]

_LVS = (constants.PROTOCOL_UDP, "SCTP")
_VERSION = ("2", "6")


def prepared(document: Description, machine: Description) -> Callable[[], str]:
    """A function that renders; the models are made before. Without listeners it gives nothing."""
    balancer = load_balancer(document)
    listeners = [each for each in balancer.listeners if each.protocol not in _LVS]
    if not listeners:
        return str
    renderer = jinja_cfg.JinjaTemplater(connection_logging=document["tuning"]["connection_logging"])
    names = tls_names(document)
    host = balancer.amphorae[0] if balancer.amphorae else data_models.Amphora(id="none")
    return lambda: renderer.build_config(
        host_amphora=host,
        listeners=listeners,
        tls_certs=names,
        haproxy_versions=_VERSION,
        amp_details=machine,
    )


def tls_names(document: Description) -> Description:
    """What the driver hands to the renderer: files by the ids of what they are for."""
    directory = f"{cfg.CONF.haproxy_amphora.base_cert_dir}/{document['id']}"
    found: Description = {
        certificate["name"]: f"{certificate['name']}.pem"
        for certificate in document["certificates"]
    }
    for pool in document["pools"]:
        if pool["tls"] is not None:
            files = {
                "client_cert": pool["tls"]["certificate"],
                "ca_cert": pool["tls"]["ca"],
                "crl": pool["tls"]["crl"],
            }
            found[pool["id"]] = {
                kind: f"{directory}/{name}.pem" for kind, name in files.items() if name is not None
            }
    return found


def load_balancer(document: Description) -> Any:
    """A document as Octavia's models."""
    balancer = data_models.LoadBalancer(
        id=document["id"],
        project_id=document["project_id"],
        enabled=document["enabled"],
        topology=document["topology"],
        vip=data_models.Vip(ip_address=document["vip"]["address"]),
        additional_vips=[
            data_models.AdditionalVip(ip_address=vip["address"])
            for vip in document["additional_vips"]
        ],
        amphorae=[
            data_models.Amphora(
                id=item["id"], status=constants.AMPHORA_ALLOCATED, vrrp_ip=item["vrrp_ip"]
            )
            for item in document["amphorae"]
        ],
    )
    pools = {pool["id"]: _pool(pool) for pool in document["pools"]}
    balancer.listeners = [_listener(balancer, item, pools) for item in document["listeners"]]
    return balancer


def _listener(balancer: Any, description: Description, pools: dict[str, Any]) -> Any:
    tls = description["tls"] or {}
    hsts = tls.get("hsts") or {}
    policies = [_policy(item, pools) for item in description["policies"]]
    used = [
        description["default_pool"],
        *(item["redirect_pool"] for item in description["policies"]),
    ]
    return data_models.Listener(
        id=description["id"],
        load_balancer=balancer,
        protocol=description["protocol"],
        protocol_port=description["port"],
        peer_port=1025,
        enabled=description["enabled"],
        connection_limit=description["connection_limit"],
        insert_headers=dict.fromkeys(description["insert_headers"], "true"),
        timeout_client_data=description["timeout_client_data_ms"],
        timeout_member_connect=description["timeout_member_connect_ms"],
        timeout_member_data=description["timeout_member_data_ms"],
        timeout_tcp_inspect=description["timeout_tcp_inspect_ms"],
        tls_certificate_id=tls["certificates"][0] if tls else None,
        client_ca_tls_certificate_id=tls.get("client_ca"),
        client_authentication=tls.get("client_authentication"),
        client_crl_container_id=tls.get("client_crl"),
        tls_ciphers=tls.get("ciphers"),
        tls_versions=tls.get("versions"),
        alpn_protocols=tls.get("alpn"),
        hsts_max_age=hsts.get("max_age_s"),
        hsts_include_subdomains=hsts.get("include_subdomains"),
        hsts_preload=hsts.get("preload"),
        default_pool=pools.get(description["default_pool"]),
        pools=[pools[pool_id] for pool_id in dict.fromkeys(used) if pool_id is not None],
        l7policies=policies,
    )


def _policy(description: Description, pools: dict[str, Any]) -> Any:
    return data_models.L7Policy(
        id=description["id"],
        action=description["action"],
        enabled=description["enabled"],
        redirect_url=description["redirect_url"],
        redirect_prefix=description["redirect_prefix"],
        redirect_http_code=description["redirect_http_code"],
        redirect_pool=pools.get(description["redirect_pool"]),
        l7rules=[
            data_models.L7Rule(
                id=item["id"],
                type=item["type"],
                compare_type=item["compare_type"],
                key=item["key"],
                value=item["value"],
                invert=item["invert"],
                enabled=item["enabled"],
            )
            for item in description["rules"]
        ],
    )


def _pool(description: Description) -> Any:
    tls = description["tls"] or {}
    monitor = description["health_monitor"]
    persistence = description["session_persistence"]
    return data_models.Pool(
        id=description["id"],
        protocol=description["protocol"],
        lb_algorithm=description["algorithm"],
        enabled=description["enabled"],
        members=[_member(item) for item in description["members"]],
        health_monitor=monitor and _monitor(description["id"], monitor),
        session_persistence=persistence
        and data_models.SessionPersistence(
            type=persistence["type"], cookie_name=persistence["cookie_name"]
        ),
        tls_enabled=description["tls"] is not None,
        tls_certificate_id=tls.get("certificate"),
        ca_tls_certificate_id=tls.get("ca"),
        crl_container_id=tls.get("crl"),
        tls_ciphers=tls.get("ciphers"),
        tls_versions=tls.get("versions"),
        alpn_protocols=tls.get("alpn"),
    )


def _member(description: Description) -> Any:
    return data_models.Member(
        id=description["id"],
        ip_address=description["address"],
        protocol_port=description["port"],
        weight=description["weight"],
        enabled=description["enabled"],
        backup=description["backup"],
        monitor_address=description["monitor_address"],
        monitor_port=description["monitor_port"],
    )


def _monitor(pool_id: str, description: Description) -> Any:
    version = description["http_version"]
    return data_models.HealthMonitor(
        id=pool_id,
        type=description["type"],
        delay=description["delay_s"],
        timeout=description["timeout_s"],
        fall_threshold=description["fall_threshold"],
        rise_threshold=description["rise_threshold"],
        enabled=description["enabled"],
        http_method=description["http_method"],
        url_path=description["url_path"] or "/",
        expected_codes=description["expected_codes"] or "200",
        http_version=None if version is None else float(version),
        domain_name=description["domain_name"],
    )


def main() -> None:
    """Render what comes in."""
    config.init([])
    asked = json.load(sys.stdin)
    if asked["warm_up"]:
        first = asked["documents"][0]
        prepared(first | {"listeners": first["listeners"][:1]}, asked["machine"])()
    renderers = [prepared(document, asked["machine"]) for document in asked["documents"]]
    begin = time.perf_counter()
    texts = [renderer() for renderer in renderers]
    seconds = time.perf_counter() - begin
    json.dump({"texts": texts, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
