# SPDX-License-Identifier: Apache-2.0
"""amphoractl certs: make, check, renew and roll the certificates of the control plane."""

import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from amphora_agent.system import files
from amphora_controller.certificates import check, lifecycle, passphrase
from amphora_controller.certificates.check import Finding, Limits
from amphora_controller.certificates.issue import KeyKind, Purpose, Recipe, Subject
from amphora_controller.certificates.lifecycle import Lifetimes, Step
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError
from amphora_controller.owner import owner_ids

app = typer.Typer(
    help="The certificates of controllers and the authorities that sign amphorae.",
    no_args_is_help=True,
)

DirectoryOption = Annotated[
    Path, typer.Option("--directory", "-d", help="Where the certificates lie.")
]
OwnerOption = Annotated[
    str, typer.Option(help="user:group that the files belong to, such as octavia:octavia.")
]
PassphraseOption = Annotated[Path | None, typer.Option(help=passphrase.HELP)]
KeyOption = Annotated[KeyKind, typer.Option("--key", help="Algorithm and size of new keys.")]
RootDaysOption = Annotated[int, typer.Option(min=1, help="How long a root is valid.")]
IntermediateDaysOption = Annotated[
    int, typer.Option(min=1, help="How long an authority that signs is valid.")
]
ControllerDaysOption = Annotated[
    int, typer.Option(min=1, help="How long the controllers' certificate is valid.")
]

_DIRECTORY = Path("/etc/octavia/certs")
_LIFETIMES = Lifetimes()


@app.command()
def create(
    directory: DirectoryOption = _DIRECTORY,
    owner: OwnerOption = "",
    passphrase_file: PassphraseOption = None,
    key: KeyOption = KeyKind.RSA_3072,
    root_days: RootDaysOption = _LIFETIMES.root_days,
    intermediate_days: IntermediateDaysOption = _LIFETIMES.intermediate_days,
    controller_days: ControllerDaysOption = _LIFETIMES.controller_days,
    country: Annotated[str, typer.Option(help="Two letters.")] = "",
    organization: Annotated[str, typer.Option()] = "OpenStack",
) -> None:
    """Make both authorities and the controllers' certificate, unless they are there."""
    target = _store(directory, owner)
    recipe = _recipe(key, Subject(country=country, organization=organization))
    lifetimes = _lifetimes(root_days, intermediate_days, controller_days)
    if lifecycle.create(target, recipe, lifetimes, passphrase.read(passphrase_file)):
        typer.echo(f"made both authorities and the controllers' certificate in {directory}")
        typer.echo(f"keep {directory}/private somewhere safe; no service needs it")
    else:
        typer.echo(f"{directory} has them already; nothing was changed")


@app.command()
def renew(
    directory: DirectoryOption = _DIRECTORY,
    owner: OwnerOption = "",
    passphrase_file: PassphraseOption = None,
    key: KeyOption = KeyKind.RSA_3072,
    controller_days: ControllerDaysOption = _LIFETIMES.controller_days,
) -> None:
    """Make the controllers' certificate anew; then restart Octavia's services."""
    lifetimes = Lifetimes(controller_days=controller_days)
    target = _store(directory, owner)
    recipe = _recipe(key, lifecycle.subject(target))
    lifecycle.renew_controller(target, recipe, lifetimes, passphrase.read(passphrase_file))
    typer.echo(f"made {target.client_bundle} anew")
    typer.echo("restart octavia-worker, octavia-health-manager and octavia-housekeeping now")


@app.command("roll-ca")
def roll_ca(
    purpose: Annotated[Purpose, typer.Argument(help="Which authority.")],
    step: Annotated[Step, typer.Argument(help="Which step.")],
    directory: DirectoryOption = _DIRECTORY,
    owner: OwnerOption = "",
    passphrase_file: PassphraseOption = None,
    key: KeyOption = KeyKind.RSA_3072,
    root_days: RootDaysOption = _LIFETIMES.root_days,
    intermediate_days: IntermediateDaysOption = _LIFETIMES.intermediate_days,
    controller_days: ControllerDaysOption = _LIFETIMES.controller_days,
) -> None:
    """Replace an authority without a gap: it is trusted (begin), signs (use), is alone (finish)."""
    target = _store(directory, owner)
    changed = lifecycle.roll(
        target,
        purpose,
        step,
        recipe=_recipe(key, lifecycle.subject(target)),
        lifetimes=_lifetimes(root_days, intermediate_days, controller_days),
        passphrase=passphrase.read(passphrase_file),
    )
    typer.echo(f"{purpose} authority: {step} {'done' if changed else 'was done before'}")
    typer.echo(_NEXT[purpose, step])


@app.command("check")
def check_all(
    directory: DirectoryOption = _DIRECTORY,
    passphrase_file: PassphraseOption = None,
    warning_days: Annotated[int, typer.Option(min=0)] = Limits().warning_days,
    critical_days: Annotated[int, typer.Option(min=0)] = Limits().critical_days,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    prometheus_file: Annotated[
        Path | None,
        typer.Option(help="Also write a file for the node exporter's textfile collector."),
    ] = None,
) -> int:
    """Say what is wrong or soon will be. Exit status: 0 all is well, 1 a warning, 2 critical."""
    found = check.findings(
        Store(directory=directory),
        now=datetime.datetime.now(datetime.UTC),
        limits=Limits(warning_days=warning_days, critical_days=critical_days),
        passphrase=passphrase.read_if_any(passphrase_file),
    )
    if prometheus_file is not None:
        _write(prometheus_file, check.textfile(found))
    if as_json:
        rows = [{**asdict(finding), "severity": finding.severity.name} for finding in found]
        typer.echo(json.dumps(rows, indent=1))
    else:
        for finding in found:
            typer.echo(_line(finding))
    return check.worst(found)


_NEXT = {
    (
        Purpose.SERVER,
        Step.BEGIN,
    ): "next: restart Octavia's services on every controller, then `use`",
    (Purpose.SERVER, Step.USE): (
        "next: restart Octavia's services; wait until every amphora has a certificate of the new "
        "authority (they are renewed in turn, or by amphoractl amphora rotate), then `finish`"
    ),
    (Purpose.SERVER, Step.FINISH): "next: restart Octavia's services on every controller",
    (Purpose.CLIENT, Step.BEGIN): (
        "next: restart Octavia's services; amphorae learn of the new authority when they are made "
        "(fail over those that are there), then `use`"
    ),
    (
        Purpose.CLIENT,
        Step.USE,
    ): "next: restart Octavia's services on every controller, then `finish`",
    (Purpose.CLIENT, Step.FINISH): (
        "next: restart Octavia's services; amphorae forget the old authority when they are replaced"
    ),
}


def _line(finding: Finding) -> str:
    return f"{finding.severity.name:8}  {finding.subject}: {finding.message}"


def _store(directory: Path, owner: str) -> Store:
    return Store(directory=directory, owner=owner_ids(owner) if owner else None)


def _recipe(key: KeyKind, subject: Subject) -> Recipe:
    try:
        subject.named("probe")
    except ValueError as exc:
        raise ControllerError("the subject of the certificates is not valid", str(exc)) from exc
    return Recipe(kind=key, subject=subject, now=datetime.datetime.now(datetime.UTC))


def _lifetimes(root_days: int, intermediate_days: int, controller_days: int) -> Lifetimes:
    if not root_days >= intermediate_days >= controller_days:
        raise ControllerError(
            "a certificate must not outlive the one that signed it",
            "--root-days >= --intermediate-days >= --controller-days",
        )
    return Lifetimes(
        root_days=root_days,
        intermediate_days=intermediate_days,
        controller_days=controller_days,
    )


def _write(path: Path, text: str) -> None:
    try:
        files.write_atomic(path, text.encode(), mode=0o644)
    except OSError as exc:
        raise ControllerError(f"{path} cannot be written", exc.strerror or str(exc)) from exc
