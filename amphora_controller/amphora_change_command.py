# SPDX-License-Identifier: Apache-2.0
"""The commands of amphoractl amphora that change something in an amphora."""

import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from amphora_agent.balancer.revision import DryRun
from amphora_controller import site
from amphora_controller.amphora import agent_config, balancers, documents, expected, rotation
from amphora_controller.amphora.balancers import Served
from amphora_controller.amphora.bundle import printable
from amphora_controller.amphora.client import PORT, Amphora
from amphora_controller.amphora_options import (
    DIRECTORY,
    AddressArgument,
    AddressesArgument,
    CloudOption,
    DirectoryOption,
    IdOption,
    JsonOption,
    LoadBalancerOption,
    OfOption,
    PortOption,
    Reach,
    Row,
    TimeoutOption,
    in_turn,
)
from amphora_controller.certificates import passphrase, store
from amphora_controller.certificates.issue import KeyKind, Recipe, Subject
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError

RevisionOption = Annotated[
    str | None,
    typer.Option(help="Only if this one is served now (3, 3-1b9e04c2); 0: only if there is none."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Have it checked, and show what would change.")
]
PassphraseOption = Annotated[Path | None, typer.Option(help=passphrase.HELP)]


def put_config(
    file: Annotated[Path, typer.Argument(help="A whole amphora-agent.conf.")],
    addresses: AddressesArgument = None,
    of: OfOption = None,
    cloud: CloudOption = None,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Give its agent a configuration; one that would cut it off is refused."""
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise ControllerError(f"{file} cannot be read", exc.strerror or str(exc)) from exc
    agent_config.check(content)
    reach = Reach(directory=directory, port=port, timeout_s=timeout)

    def put(one: Amphora) -> Row:
        agent_config.write(one, content)
        return {"file": str(file)}

    in_turn(
        reach.several(addresses, amphora_id, of=of, cloud=cloud),
        put,
        lambda row: f"{row['address']}: has it; what is not live takes effect at the next start\n",
        as_json=as_json,
    )


def push(
    file: Annotated[Path, typer.Argument(help="A load balancer in JSON, or in YAML (*.yaml).")],
    addresses: AddressesArgument = None,
    of: OfOption = None,
    cloud: CloudOption = None,
    revision: RevisionOption = None,
    dry_run: DryRunOption = False,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Have it serve a load balancer, by API 2.0: wholly, or not at all."""
    document = documents.load(file)
    wanted = None if revision is None else expected.parse(revision)
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    asked = reach.several(addresses, amphora_id, of=of, cloud=cloud)
    if dry_run:
        in_turn(
            asked,
            lambda one: _planned(balancers.rehearse_push(one, document, expected=wanted)),
            _show_planned,
            as_json=as_json,
        )
        return
    in_turn(
        asked,
        lambda one: _served(balancers.push(one, document, expected=wanted)),
        _show_served,
        as_json=as_json,
    )


def rollback(
    address: AddressArgument,
    number: Annotated[int, typer.Argument(min=1, help="Which revision; see `revisions`.")],
    load_balancer: LoadBalancerOption = None,
    revision: RevisionOption = None,
    dry_run: DryRunOption = False,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Have it serve an earlier revision again; that makes a new one."""
    wanted = None if revision is None else expected.parse(revision)
    one = Reach(directory=directory, port=port, timeout_s=timeout).one(address, amphora_id)
    lb_id = balancers.only(one, load_balancer)
    if dry_run:
        in_turn(
            [one],
            lambda one: _planned(balancers.rehearse_roll_back(one, lb_id, number, expected=wanted)),
            _show_planned,
            as_json=as_json,
        )
        return
    in_turn(
        [one],
        lambda one: _served(balancers.roll_back(one, lb_id, number, expected=wanted)),
        _show_served,
        as_json=as_json,
    )


def rotate(
    addresses: AddressesArgument = None,
    of: OfOption = None,
    cloud: CloudOption = None,
    days: Annotated[int, typer.Option(min=1, help="How long it is valid.")] = 30,
    key: Annotated[KeyKind, typer.Option("--key", help="Its key.")] = KeyKind.RSA_2048,
    passphrase_file: PassphraseOption = None,
    site_file: Annotated[
        Path | None,
        typer.Option("--site", "-s", help="The site's file: its directory and its passphrase."),
    ] = None,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Give it a new certificate, and see that it serves with it."""
    if site_file is None:
        secret = passphrase.read(passphrase_file)
    else:
        certificates = site.load(site_file).certificates
        secret = certificates.ca_passphrase
        if directory == DIRECTORY:
            directory = Path(certificates.directory)
    source = Store(directory=directory)
    signer = rotation.Signer(
        issuer=store.read_issued(source.server_certificate, source.server_key, secret),
        trusted=store.read_certificates(source.server_chain),
        recipe=Recipe(kind=key, subject=Subject(), now=datetime.datetime.now(datetime.UTC)),
        days=days,
    )
    reach = Reach(directory=directory, port=port, timeout_s=timeout)

    def turn(one: Amphora) -> Row:
        done = rotation.rotate(one, signer)
        return {
            "id": done.amphora_id,
            "until": done.until.isoformat(),
            "until_before": done.until_before.isoformat(),
            "fingerprint": done.fingerprint,
        }

    in_turn(
        reach.several(addresses, amphora_id, of=of, cloud=cloud),
        turn,
        lambda row: f"{row['address']}: {row['id']} serves a certificate until {row['until']}\n",
        as_json=as_json,
    )


def _served(served: Served) -> Row:
    row: Row = msgspec.to_builtins(served)
    return row


def _show_served(row: Row) -> str:
    lines = [f"{row['address']}: serves revision {row['revision']}-{row['generation']}"]
    lines += [f"  {detail}" for detail in row["details"] or ("nothing had to change",)]
    lines += [f"  warning: {warning}" for warning in row["warnings"]]
    return "".join(f"{line}\n" for line in lines)


def _planned(planned: DryRun) -> Row:
    row: Row = msgspec.to_builtins(planned)
    return row


def _show_planned(row: Row) -> str:
    count = len(row["files"])
    lines = [f"{row['address']}: {count or 'no'} file{'s' if count != 1 else ''} would change"]
    lines += [f"  {file['path']}" for file in row["files"]]
    lines += [f"  warning: {warning}" for warning in row["warnings"]]
    diffs = "".join(file["diff"] for file in row["files"])
    return "".join(f"{line}\n" for line in lines) + printable(diffs)
