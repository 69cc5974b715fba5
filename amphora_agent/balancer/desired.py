# SPDX-License-Identifier: Apache-2.0
"""All that a document asks of an amphora: files with their modes, and which services run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amphora_agent import render
from amphora_agent.balancer import firewall, haproxy, keepalived, lvs
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy import Host
from amphora_agent.balancer.listener import Listener
from amphora_agent.balancer.parts import LVS_PROTOCOLS
from amphora_agent.balancer.state import Desired, File, Runs
from amphora_agent.layout import Layout
from amphora_agent.topology import Topology

_PRIVATE = 0o600
_PUBLIC = 0o644
# root alone runs it, from keepalived.
_UDP_CHECK_MODE = 0o100


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the files depend on besides the document.

    Attributes:
        amphora_id: of this amphora.
        interface: bears the VIP.
    """

    host: Host
    amphora_id: str
    interface: str


def desired(document: LoadBalancer, pems: Mapping[str, bytes], machine: Machine) -> Desired:
    """What is to be there for a document.

    Args:
        pems: contents of the document's certificates by their names.
    """
    by_lvs = [listener for listener in document.listeners if listener.protocol in LVS_PROTOCOLS]
    by_haproxy = len(by_lvs) < len(document.listeners)
    is_pair = _is_pair(document)
    files: dict[Path, File] = {}
    if by_haproxy:
        files |= _haproxy(document, machine)
    files |= _certificates(document, pems, machine.host.layout)
    # A disabled one serves nothing, but heartbeats tell of it by its file.
    files |= _lvs(document, by_lvs, machine.host.layout)
    if is_pair:
        files |= _vrrp(document, machine)
    if document.sriov:
        rules = render.vip_firewall(firewall.rules(document, machine.amphora_id))
        files[machine.host.layout.vip_rules] = File(content=rules.encode(), mode=_PRIVATE)
    return Desired(
        files=files,
        runs=Runs(
            haproxy=by_haproxy,
            lvs=tuple(sorted(listener.id for listener in by_lvs)),
            vrrp=is_pair,
        ),
    )


def kept(document: LoadBalancer, pems: Mapping[str, bytes], layout: Layout) -> dict[Path, File]:
    """The certificates once more, by their contents: by these a roll-back finds them."""
    files = map(_secret, pems.values())
    return {layout.kept_certificate(document.id, file.sha256): file for file in files}


def own(document: LoadBalancer, layout: Layout) -> frozenset[Path]:
    """Files that belong to the load balancer alone, whether they are to be there or not.

    Certificates are not among them.
    """
    lb_id = document.id
    return frozenset(
        {
            layout.haproxy_config(lb_id),
            layout.haproxy_environment(lb_id),
            # A controller's stop does not outlast a document that says what runs.
            layout.haproxy_stopped(lb_id),
            *map(layout.lvs_config, lvs_ids(document)),
        }
    )


def lvs_ids(document: LoadBalancer) -> frozenset[str]:
    """The listeners that are served by keepalived."""
    return frozenset(found.id for found in document.listeners if found.protocol in LVS_PROTOCOLS)


def _is_pair(document: LoadBalancer) -> bool:
    return document.topology is Topology.ACTIVE_STANDBY


def _haproxy(document: LoadBalancer, machine: Machine) -> dict[Path, File]:
    layout, lb_id = machine.host.layout, document.id
    config = haproxy.config(document, machine.host)
    lists = haproxy.certificate_lists(document, layout)
    environment = render.haproxy_environment(machine.amphora_id)
    return {
        layout.haproxy_config(lb_id): File(content=config.encode(), mode=_PRIVATE),
        layout.haproxy_environment(lb_id): File(content=environment.encode(), mode=_PUBLIC),
        **{
            layout.cert_dir(lb_id) / name: File(content=content, mode=_PRIVATE)
            for name, content in lists.items()
        },
    }


def _certificates(
    document: LoadBalancer, pems: Mapping[str, bytes], layout: Layout
) -> dict[Path, File]:
    directory = layout.cert_dir(document.id)
    return {
        directory / f"{certificate.name}.pem": _secret(pems[certificate.name])
        for certificate in document.certificates
    }


def _secret(content: bytes) -> File:
    return File(content=content, mode=_PRIVATE, secret=True)


def _lvs(document: LoadBalancer, listeners: list[Listener], layout: Layout) -> dict[Path, File]:
    if not listeners:
        return {}
    check = File(content=render.udp_check().encode(), mode=_UDP_CHECK_MODE)
    files = {layout.udp_check: check}
    for listener in listeners:
        text = lvs.config(document, listener, layout)
        files[layout.lvs_config(listener.id)] = File(content=text.encode(), mode=_PUBLIC)
    return files


def _vrrp(document: LoadBalancer, machine: Machine) -> dict[Path, File]:
    layout = machine.host.layout
    text = keepalived.config(document, machine.amphora_id, machine.interface, layout)
    # It may have a password in it.
    return {layout.keepalived_config: File(content=text.encode(), mode=_PRIVATE)}
