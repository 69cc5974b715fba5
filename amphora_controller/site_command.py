# SPDX-License-Identifier: Apache-2.0
"""amphoractl site and config: one file that describes the cloud, and octavia.conf made from it."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from amphora_controller import octavia_conf, octavia_file, site, text_file
from amphora_controller.errors import ControllerError

app = typer.Typer(help="The file that describes this cloud.", no_args_is_help=True)

SiteOption = Annotated[Path, typer.Option("--site", "-s", help="The site's file.")]
HostOption = Annotated[
    str,
    typer.Option(
        "--controller", help="Which controller of the site; the name of this host by default."
    ),
]

_SITE = Path("site.yaml")
_OCTAVIA_CONF = Path("/etc/octavia/octavia.conf")
_SECRET_MODE = 0o600


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write it.")] = _SITE) -> None:
    """Write a commented file to fill in, with fresh secrets."""
    if path.exists():
        raise ControllerError(f"{path} is there already", "move it away, or go on with it")
    text_file.write(path, octavia_conf.site_example(site.new_secrets()), mode=_SECRET_MODE)
    typer.echo(f"wrote {path}; fill in what is empty, then: amphoractl site check {path}")


@app.command()
def check(path: Annotated[Path, typer.Argument(help="The site's file.")] = _SITE) -> None:
    """Say what is wrong with it, if anything is."""
    site.load(path)
    typer.echo(f"{path} is complete")


def config(
    site_file: SiteOption = _SITE,
    controller: HostOption = "",
    output: Annotated[Path, typer.Option("--output", "-o")] = _OCTAVIA_CONF,
    owner: Annotated[str, typer.Option(help="user:group, such as root:octavia.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Show what would change, without secrets.")] = False,
) -> None:
    """Render octavia.conf of one controller; the file before is kept as octavia.conf.before."""
    loaded = site.load(site_file)
    host = loaded.controller(controller or this_host())
    text = octavia_conf.render(loaded, host, octavia_conf.stated_ids(loaded), site_file.name)
    before = text_file.read(output)
    if before == text:
        typer.echo(f"{output} is as it should be; nothing was changed")
        return
    if dry_run:
        typer.echo(octavia_file.difference(before, text, output), nl=False)
        return
    octavia_file.replace(output, text, owner)
    typer.echo(f"wrote {output}; restart Octavia's services")


def this_host() -> str:
    """The name of this host, less its domain."""
    return socket.gethostname().partition(".")[0]
