# SPDX-License-Identifier: Apache-2.0
"""amphoractl amphora: look at one amphora, as a controller sees it."""

import datetime
import json
from pathlib import Path
from typing import Annotated

import typer

from amphora_controller.amphora.client import PORT, Amphora
from amphora_controller.amphora.probe import Result, probe
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError

app = typer.Typer(help="One amphora, asked over mutual TLS.", no_args_is_help=True)

AddressArgument = Annotated[str, typer.Argument(help="Its address on the management network.")]
DirectoryOption = Annotated[
    Path, typer.Option("--directory", "-d", help="Where the controllers' certificates lie.")
]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]
TimeoutOption = Annotated[float, typer.Option(min=0.1, help="Seconds for each step.")]

_DIRECTORY = Path("/etc/octavia/certs")


@app.command("probe")
def probe_one(
    address: AddressArgument,
    amphora_id: Annotated[
        str | None, typer.Option("--id", help="The amphora's UUID; its certificate must name it.")
    ] = None,
    directory: DirectoryOption = _DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Go the way of a controller's request and say at which hop it fails. Exit status 0 or 2."""
    found: list[Result] = []
    now = datetime.datetime.now(datetime.UTC)
    for result in probe(
        _amphora(address, directory, port, timeout), amphora_id=amphora_id, now=now
    ):
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
    directory: DirectoryOption = _DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Versions of what runs in it, as JSON."""
    _show(_amphora(address, directory, port, timeout), "/1.0/info")


@app.command()
def details(
    address: AddressArgument,
    directory: DirectoryOption = _DIRECTORY,
    port: PortOption = PORT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Its load, memory, disk, interfaces and listeners, as JSON."""
    _show(_amphora(address, directory, port, timeout), "/1.0/details")


def _amphora(address: str, directory: Path, port: int, timeout_s: float) -> Amphora:
    files = Store(directory=directory)
    return Amphora(
        address=address,
        port=port,
        trust=files.server_chain,
        identity=files.client_bundle,
        timeout_s=timeout_s,
    )


def _show(amphora: Amphora, path: str) -> None:
    answer = amphora.request("GET", path)
    document = answer.json()
    if answer.status != 200:
        raise ControllerError(
            f"{path} was answered with status {answer.status}", json.dumps(document)
        )
    typer.echo(json.dumps(document, indent=1))


def _line(result: Result) -> str:
    line = f"{'ok' if result.well else 'FAILED':7} {result.hop}: {result.message}"
    return f"{line}\n        {result.hint}" if result.hint else line
