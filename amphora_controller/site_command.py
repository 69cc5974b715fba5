# SPDX-License-Identifier: Apache-2.0
"""amphoractl site and config: one file that describes the cloud, and octavia.conf made from it."""

import difflib
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from amphora_agent.system import files
from amphora_controller import octavia_conf, site
from amphora_controller.errors import ControllerError
from amphora_controller.owner import owner_ids

app = typer.Typer(help="The file that describes this cloud.", no_args_is_help=True)

SiteOption = Annotated[Path, typer.Option("--site", "-s", help="The site's file.")]

_SITE = Path("site.yaml")
_OCTAVIA_CONF = Path("/etc/octavia/octavia.conf")
_SECRET_MODE = 0o600
_CONFIG_MODE = 0o640


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write it.")] = _SITE) -> None:
    """Write a commented file to fill in, with fresh secrets."""
    if path.exists():
        raise ControllerError(f"{path} is there already", "move it away, or go on with it")
    _write(path, octavia_conf.site_example(site.new_secrets()), mode=_SECRET_MODE)
    typer.echo(f"wrote {path}; fill in what is empty, then: amphoractl site check {path}")


@app.command()
def check(path: Annotated[Path, typer.Argument(help="The site's file.")] = _SITE) -> None:
    """Say what is wrong with it, if anything is."""
    site.load(path)
    typer.echo(f"{path} is complete")


def config(
    site_file: SiteOption = _SITE,
    controller: Annotated[
        str, typer.Option(help="Which controller of the site; the name of this host by default.")
    ] = "",
    output: Annotated[Path, typer.Option("--output", "-o")] = _OCTAVIA_CONF,
    owner: Annotated[str, typer.Option(help="user:group, such as root:octavia.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Show what would change, without secrets.")] = False,
) -> None:
    """Render octavia.conf of one controller; the file before is kept as octavia.conf.before."""
    loaded = site.load(site_file)
    host = loaded.controller(controller or socket.gethostname().partition(".")[0])
    text = octavia_conf.render(loaded, host, site_file.name)
    before = _read(output)
    if before == text:
        typer.echo(f"{output} is as it should be; nothing was changed")
        return
    if dry_run:
        typer.echo(_difference(before, text, output), nl=False)
        return
    ids = owner_ids(owner) if owner else None
    if before:
        _write(output.with_name(f"{output.name}.before"), before, mode=_SECRET_MODE)
    _write(output, text, mode=_CONFIG_MODE, owner=ids)
    typer.echo(f"wrote {output}; restart Octavia's services")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise ControllerError(f"{path} cannot be read", str(exc)) from exc


def _write(path: Path, text: str, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    try:
        files.make_directory(path.parent)
        files.write_atomic(path, text.encode(), mode=mode)
        if owner is not None:
            os.chown(path, *owner)
    except OSError as exc:
        raise ControllerError(f"{path} cannot be written", exc.strerror or str(exc)) from exc


def _difference(before: str, after: str, path: Path) -> str:
    lines = difflib.unified_diff(
        octavia_conf.without_secrets(before).splitlines(keepends=True),
        octavia_conf.without_secrets(after).splitlines(keepends=True),
        str(path),
        f"{path} (new)",
    )
    return "".join(lines) or f"{path}: only secrets change\n"
