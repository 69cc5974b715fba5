# SPDX-License-Identifier: Apache-2.0
"""amphoractl amphora: look at one amphora, as a controller sees it."""

import datetime
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from amphora_agent.system import files
from amphora_controller import amphora_change_command
from amphora_controller.amphora import agent_config, balancers, bundle
from amphora_controller.amphora.client import PORT, Amphora
from amphora_controller.amphora.probe import Result, probe
from amphora_controller.amphora.refusals import expect
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
from amphora_controller.errors import ControllerError

app = typer.Typer(help="One amphora, asked over mutual TLS.", no_args_is_help=True)
config = typer.Typer(help="The configuration of its agent.", no_args_is_help=True)
app.add_typer(config, name="config")
config.command("put")(amphora_change_command.put_config)
app.command()(amphora_change_command.push)
app.command()(amphora_change_command.rollback)
app.command()(amphora_change_command.rotate)


@app.command("probe")
def probe_one(
    address: AddressArgument,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> int:
    """Go the way of a controller's request and say at which hop it fails. Exit status 0 or 2."""
    found: list[Result] = []
    now = datetime.datetime.now(datetime.UTC)
    asked = Reach(directory=directory, port=port, timeout_s=timeout).one(address)
    for result in probe(asked, amphora_id=amphora_id, now=now):
        found.append(result)
        if not as_json:
            typer.echo(_line(result))
    if as_json:
        rows = [
            {
                "hop": str(result.hop),
                "well": result.well,
                "message": result.message,
                "hint": result.hint,
            }
            for result in found
        ]
        typer.echo(json.dumps(rows, indent=1))
    return 0 if all(result.well for result in found) else 2


@app.command()
def info(
    address: AddressArgument,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Versions of what runs in it, as JSON."""
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    _show(reach.one(address, amphora_id), "/1.0/info")


@app.command()
def details(
    address: AddressArgument,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Its load, memory, disk, interfaces and listeners, as JSON."""
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    _show(reach.one(address, amphora_id), "/1.0/details")


@config.command("get")
def get_config(
    address: AddressArgument,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Print amphora-agent.conf out of the support bundle, so without its secrets."""
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    typer.echo(agent_config.read(reach.one(address, amphora_id)), nl=False)


@app.command()
def revisions(
    address: AddressArgument,
    load_balancer: LoadBalancerOption = None,
    show: Annotated[
        int | None, typer.Option(min=1, help="Print the document of one, without secrets.")
    ] = None,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """What API 2.0 has kept of a load balancer, the newest first."""
    asked = Reach(directory=directory, port=port, timeout_s=timeout).one(address, amphora_id)
    lb_id = balancers.only(asked, load_balancer)
    if show is not None:
        typer.echo(json.dumps(balancers.document(asked, lb_id, show), indent=1))
        return
    served, kept = balancers.get(asked, lb_id), balancers.history(asked, lb_id)
    if as_json:
        rows = msgspec.to_builtins(kept)
        row = {
            "id": lb_id,
            "generation": served.generation,
            "state": served.state,
            "differs": served.differs,
            "revisions": rows,
        }
        typer.echo(json.dumps(row, indent=1))
        return
    typer.echo(f"load balancer {lb_id}: revision {served.name}, {served.state}")
    for path in served.differs:
        typer.echo(f"  differs: {path}")
    for one in kept:
        origin = one.origin if one.of is None else f"{one.origin} of {one.of}"
        typer.echo(f"{one.revision:6}  {one.created_at}  {origin}")


@app.command("bundle")
def save_bundle(
    addresses: AddressesArgument = None,
    of: OfOption = None,
    cloud: CloudOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file, or a directory that is there.")
    ] = Path(),
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Save what an operator needs to see what is wrong, without secrets: a tar.gz."""
    reach = Reach(directory=directory, port=port, timeout_s=timeout)
    asked = reach.several(addresses, amphora_id, of=of, cloud=cloud)
    if len(asked) > 1 and not output.is_dir():
        raise ControllerError(f"{output} is no directory", "several bundles need one")

    def save(one: Amphora) -> Row:
        made = bundle.fetch(one)
        now = datetime.datetime.now(datetime.UTC)
        name = f"amphora-{made.amphora_id}-{now:%Y%m%dT%H%M%SZ}.tar.gz"
        path = output / name if output.is_dir() else output
        try:
            files.write_atomic(path, made.packed, mode=0o600)
        except OSError as exc:
            raise ControllerError(
                f"{path} cannot be written", f"{exc.strerror}; --output FILE"
            ) from exc
        return {"id": made.amphora_id, "file": str(path), "bytes": len(made.packed)}

    in_turn(asked, save, lambda row: f"{row['address']}: {row['file']}\n", as_json=as_json)


@app.command()
def log(
    address: AddressArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=2000)] = 100,
    amphora_id: IdOption = None,
    directory: DirectoryOption = DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """The end of its journal since it booted, as it is now."""
    asked = Reach(directory=directory, port=port, timeout_s=timeout).one(address, amphora_id)
    journal = bundle.fetch(asked).text(bundle.JOURNAL)
    typer.echo(bundle.printable(bundle.tail(journal, lines)), nl=False)


def _show(asked: Amphora, path: str) -> None:
    answer = expect(asked.request("GET", path), 200)
    typer.echo(json.dumps(answer.json(), indent=1))


def _line(result: Result) -> str:
    line = f"{'ok' if result.well else 'FAILED':7} {result.hop}: {result.message}"
    return f"{line}\n        {result.hint}" if result.hint else line
