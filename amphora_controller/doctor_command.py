# SPDX-License-Identifier: Apache-2.0
"""amphoractl doctor: every hop between this controller and its amphorae, and the one that fails."""

import json
import logging
import socket
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from amphora_controller import octavia_conf, site
from amphora_controller.doctor import conf_file, options
from amphora_controller.doctor.examination import Case, SiteSays, Target, examine
from amphora_controller.doctor.findings import (
    Finding,
    Outcome,
    conclusion,
    exit_status,
    failed,
)
from amphora_controller.doctor.options import endpoint
from amphora_controller.errors import ControllerError
from amphora_controller.fleet.octavia import connected
from amphora_controller.octavia_conf import CloudIds
from amphora_controller.site import Site

_OCTAVIA_CONF = Path("/etc/octavia/octavia.conf")
_LIMIT_S = 8.0
_COLOURS = {
    Outcome.OK: typer.colors.GREEN,
    Outcome.FAILED: typer.colors.RED,
    Outcome.UNKNOWN: typer.colors.YELLOW,
    Outcome.SKIPPED: typer.colors.BRIGHT_BLACK,
}


def doctor(
    amphora: Annotated[
        list[str] | None,
        typer.Option(help="Address of one on the management network, or ADDRESS=UUID. Repeatable."),
    ] = None,
    of: Annotated[
        str, typer.Option(help="All amphorae of this load balancer too, by Octavia's API.")
    ] = "",
    octavia_conf_file: Annotated[
        Path, typer.Option("--octavia-conf", help="This controller's.")
    ] = _OCTAVIA_CONF,
    site_file: Annotated[
        Path | None, typer.Option("--site", "-s", help="Compare octavia.conf with this site too.")
    ] = None,
    controller: Annotated[
        str, typer.Option(help="Which controller of the site; the name of this host by default.")
    ] = "",
    interface: Annotated[
        str, typer.Option(help="On the management network; o-hm0, or what has bind_ip, by default.")
    ] = "",
    os_cloud: Annotated[
        str, typer.Option(help="An entry of clouds.yaml, in place of octavia.conf's account.")
    ] = "",
    limit: Annotated[
        float, typer.Option(min=1, help="Seconds for everything together.")
    ] = _LIMIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Prove every hop to amphorae and back. Exit status 0 all well, 1 one failed, 2 not proven."""
    begun_s = time.monotonic()
    # What goes wrong is told by the hop that it goes wrong at.
    for name in ("keystoneauth", "openstack", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    targets = [_target(text) for text in amphora or ()]
    if of:
        targets += _targets_of(of, os_cloud)
    says = _site(site_file, controller) if site_file else None
    found: list[Finding] = []
    try:
        conf = conf_file.load(octavia_conf_file)
        read = options.read(conf)
    except ControllerError as exc:
        findings = iter([Finding(hop="octavia.conf", note=failed(exc.message, exc.hint))])
    else:
        case = Case(
            conf=conf,
            options=read,
            # What Octavia's API tells comes last, and has the id.
            targets=tuple({target.address: target for target in targets}.values()),
            interface=interface,
            cloud=os_cloud,
            site=says,
            limit_s=limit,
        )
        findings = examine(case)
    for finding in findings:
        found.append(finding)
        if not as_json:
            _tell(finding)
    status = exit_status(found)
    took_s = time.monotonic() - begun_s
    if as_json:
        typer.echo(json.dumps({"status": status, "hops": [_row(item) for item in found]}, indent=1))
    else:
        typer.echo(f"{conclusion(found)} ({took_s:.1f} s)")
    return status


def _target(text: str) -> Target:
    address, _, amphora_id = text.partition("=")
    try:
        return Target(address=ip_address(address.strip("[]")), id=amphora_id or None)
    except ValueError as exc:
        raise ControllerError(
            f"--amphora {text}: {address!r} is no address",
            "`openstack loadbalancer amphora list` has it as lb_network_ip",
        ) from exc


def _targets_of(load_balancer_id: str, cloud: str) -> list[Target]:
    with connected(cloud or None) as octavia:
        found = octavia.amphorae(load_balancer_id)
    if not found:
        raise ControllerError(
            f"load balancer {load_balancer_id} has no amphorae",
            "`openstack loadbalancer list` has the ids",
        )
    return [Target(address=ip_address(known.address), id=known.id) for known in found]


def _site(path: Path, controller: str) -> SiteSays:
    loaded = site.load(path)
    host = loaded.controller(controller or socket.gethostname().partition(".")[0])
    rendered = octavia_conf.sections(loaded, host, _stated_ids(loaded))
    entries = rendered["health_manager"]["controller_ip_port_list"].split(", ")
    found = (endpoint(entry) for entry in entries)
    return SiteSays(
        source=path.name,
        controllers=tuple(item for item in found if item is not None),
        rendered=rendered,
    )


def _stated_ids(loaded: Site) -> CloudIds:
    """Ids that the site has; what `amphoractl setup` makes has none there, and is not compared."""
    flavor = loaded.amphora.flavor
    return CloudIds(
        networks=loaded.management.networks,
        security_groups=loaded.management.security_groups,
        flavor=flavor if isinstance(flavor, str) else "",
        image_owner=loaded.amphora.image_owner or "",
    )


def _tell(finding: Finding) -> None:
    note = finding.note
    # click leaves colours out where nobody would see them.
    typer.secho(f"{note.outcome:8}", fg=_COLOURS[note.outcome], nl=False)
    typer.echo(f"{finding.hop}: {note.seen}")
    if note.do:
        typer.echo(f"        do: {note.do}")


def _row(finding: Finding) -> dict[str, str]:
    note = finding.note
    return {"hop": finding.hop, "outcome": note.outcome, "seen": note.seen, "do": note.do}
