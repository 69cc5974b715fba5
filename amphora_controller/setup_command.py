# SPDX-License-Identifier: Apache-2.0
"""amphoractl setup and teardown: what a site needs is made, step by step, and taken away again."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from amphora_controller import site
from amphora_controller.setup import engine, registry
from amphora_controller.setup.cloud import Cloud
from amphora_controller.setup.context import Context
from amphora_controller.setup.engine import Outcome, State
from amphora_controller.site_command import HostOption, SiteOption, this_host

_SITE = Path("site.yaml")

StepArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[STEP]...", help="Only these steps.")
]
CloudOption = Annotated[
    str, typer.Option("--os-cloud", help="An entry of clouds.yaml; else OS_CLOUD, or OS_*.")
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        help="Show requests, commands and files, without secrets; exit status 1 if there are any."
    ),
]


def setup(
    steps: StepArgument = None,
    site_file: SiteOption = _SITE,
    controller: HostOption = "",
    os_cloud: CloudOption = "",
    dry_run: DryRunOption = False,
) -> int:
    """Make what the site needs and lacks: in the cloud, and on this host; see docs/setup.md."""
    context = _context(site_file, controller, os_cloud, dry_run=dry_run)
    chosen = registry.chosen(registry.all_steps(context), steps or [])
    return _ended(engine.run(chosen, lambda step: step.changes(), dry_run=dry_run, say=typer.echo))


def teardown(
    steps: StepArgument = None,
    site_file: SiteOption = _SITE,
    controller: HostOption = "",
    os_cloud: CloudOption = "",
    certificates: Annotated[
        bool, typer.Option("--certificates", help="Remove the authorities and certificates, too.")
    ] = False,
    database: Annotated[
        bool, typer.Option("--database", help="Remove the database with all that Octavia knows.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
) -> int:
    """Remove what setup made, and nothing else, in reverse order."""
    context = replace(
        _context(site_file, controller, os_cloud, dry_run=dry_run),
        with_certificates=certificates,
        with_database=database,
    )
    chosen = registry.chosen(registry.all_steps(context), steps or [])[::-1]
    if not (yes or dry_run):
        names = ", ".join(step.name for step in chosen)
        typer.confirm(f"Remove what setup made for site {context.site.name} ({names})?", abort=True)
    return _ended(engine.run(chosen, lambda step: step.removals(), dry_run=dry_run, say=typer.echo))


def _context(
    site_file: Path,
    controller: str,
    os_cloud: str,
    *,
    dry_run: bool,
) -> Context:
    return Context(
        site=site.load(site_file),
        source=site_file.name,
        host=controller or this_host(),
        cloud=Cloud(os_cloud or None),
        dry_run=dry_run,
    )


def _ended(outcomes: list[Outcome]) -> int:
    """Print the summary; the exit status."""
    typer.echo()
    for line in engine.summary(outcomes):
        typer.echo(line)
    states = {outcome.state for outcome in outcomes}
    if State.INTERRUPTED in states:
        return 130
    if State.FAILED in states:
        return 3
    return 1 if State.PENDING in states else 0
