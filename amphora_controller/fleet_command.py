# SPDX-License-Identifier: Apache-2.0
"""amphoractl fleet: all amphorae of a cloud, and their replacement in turn."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from amphora_controller.amphora.client import PORT, Amphora
from amphora_controller.amphora_options import (
    DIRECTORY,
    CloudOption,
    DirectoryOption,
    JsonOption,
    PortOption,
    Reach,
    TimeoutOption,
)
from amphora_controller.errors import ControllerError
from amphora_controller.fleet import addresses, table
from amphora_controller.fleet.model import Known
from amphora_controller.fleet.octavia import Octavia, connected
from amphora_controller.fleet.plan import Plan, Wanted, plan, reasons, version
from amphora_controller.fleet.roll import Patience, roll, settle
from amphora_controller.fleet.survey import ask, survey

app = typer.Typer(help="All amphorae of a cloud.", no_args_is_help=True)

ParallelOption = Annotated[
    int, typer.Option(min=1, max=256, help="How many amphorae are asked at the same time.")
]
ImageOption = Annotated[
    str | None, typer.Option(help="UUID of the image; amphorae of others are replaced.")
]
HaproxyOption = Annotated[
    str | None, typer.Option(help="Replace those whose haproxy is older, such as 3.0.12.")
]
DaysOption = Annotated[
    int | None,
    typer.Option(min=1, help="Replace those whose certificate has fewer days left."),
]
LimitOption = Annotated[
    int,
    typer.Option(min=1, help="How many load balancers are worked on at the same time."),
]

_PARALLEL = 16
_TIMEOUT_S = 5.0


@app.command("list")
def list_all(
    amphora: Annotated[
        list[str] | None, typer.Option(help="An address; may be repeated, instead of the API.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Addresses, one a line, instead of the API.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="A line for each amphora.")] = False,
    cloud: CloudOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = _TIMEOUT_S,
    parallel: ParallelOption = _PARALLEL,
    as_json: JsonOption = False,
) -> int:
    """What they are made of. Exit status: 0 all of them answered, 2 some did not."""
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    if amphora or file:
        fleet = addresses.given(amphora or [], file)
    else:
        with connected(cloud) as octavia:
            fleet = octavia.amphorae()
    reports = survey(fleet, _asker(reach), at_once=parallel)
    now = datetime.datetime.now(datetime.UTC)
    if as_json:
        typer.echo(json.dumps(table.as_json(reports, now), indent=1))
    else:
        typer.echo(table.listing(reports, now, each=each), nl=False)
    return 2 if any(report.cause for report in reports) else 0


@app.command("plan")
def show_plan(
    image: ImageOption = None,
    haproxy_below: HaproxyOption = None,
    days_below: DaysOption = None,
    limit: LimitOption = 1,
    cloud: CloudOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = _TIMEOUT_S,
    parallel: ParallelOption = _PARALLEL,
    as_json: JsonOption = False,
) -> None:
    """Say which amphorae would be replaced, and in which order; nothing is done."""
    wanted = _wanted(image, haproxy_below, days_below)
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    with connected(cloud) as octavia:
        made = _plan(octavia, reach, wanted, limit, parallel)
    if as_json:
        typer.echo(json.dumps(table.plan_json(made), indent=1))
    else:
        typer.echo(table.plan_text(made), nl=False)


@app.command("roll")
def roll_all(
    image: ImageOption = None,
    haproxy_below: HaproxyOption = None,
    days_below: DaysOption = None,
    limit: LimitOption = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the API calls only.")] = False,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds that one wave may take at most.")
    ] = Patience().timeout_s,
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at Octavia's API.")
    ] = Patience().interval_s,
    cloud: CloudOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = _TIMEOUT_S,
    parallel: ParallelOption = _PARALLEL,
) -> int:
    """Replace amphorae through Octavia, wave by wave, up to the first failure.

    The same command goes on after it. Exit status: 0 done, 2 some were left alone, 3 stopped.
    """
    wanted = _wanted(image, haproxy_below, days_below)
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    waits = Patience(timeout_s=patience, interval_s=interval)
    with connected(cloud) as octavia:
        made = _plan(octavia, reach, wanted, limit, parallel)
        changing = {held.amphora.load_balancer_id or "" for held in made.held if held.passes}
        if changing and not dry_run:
            typer.echo(f"waiting for {', '.join(sorted(changing))}, which Octavia is changing")
            settle(sorted(changing), octavia, waits)
            made = _plan(octavia, reach, wanted, limit, parallel)
        typer.echo(table.plan_text(made), nl=False)
        if dry_run:
            for step in made.steps:
                typer.echo(f"PUT /v2/octavia/amphorae/{step.amphora.id}/failover")
        else:
            roll(made, octavia, _judge(reach, wanted), waits, typer.echo)
    return 2 if made.held else 0


def _plan(octavia: Octavia, reach: Reach, wanted: Wanted, limit: int, parallel: int) -> Plan:
    # In this order: a load balancer that is made in between has no amphora in the plan.
    fleet = octavia.amphorae()
    reports = survey(fleet, _asker(reach), at_once=parallel)
    now = datetime.datetime.now(datetime.UTC)
    return plan(reports, octavia.load_balancers(), wanted, now=now, at_once=limit)


def _judge(reach: Reach, wanted: Wanted) -> Callable[[Known], str]:
    def judge(known: Known) -> str:
        report = ask(known, _asker(reach)(known))
        if report.cause:
            return f"does not answer: {report.cause}"
        why = reasons(report, wanted, datetime.datetime.now(datetime.UTC))
        return f"is no better than the old one: {', '.join(why)}" if why else ""

    return judge


def _asker(reach: Reach) -> Callable[[Known], Amphora]:
    return lambda known: reach.one(known.address, known.id)


def _wanted(image: str | None, haproxy_below: str | None, days_below: int | None) -> Wanted:
    haproxy = None if haproxy_below is None else version(haproxy_below)
    if haproxy_below is not None and haproxy is None:
        raise ControllerError(f"{haproxy_below!r} is no version", "right is one such as 3.0.12")
    wanted = Wanted(image_id=image, haproxy=haproxy, days=days_below)
    if wanted.is_empty:
        raise ControllerError(
            "nothing says which amphorae are to be replaced",
            "--image UUID, --haproxy-below VERSION or --days-below DAYS",
        )
    return wanted
