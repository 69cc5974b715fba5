# SPDX-License-Identifier: Apache-2.0
"""amphoractl: the controller side of amphorae, for operators."""

import sys
from collections.abc import Sequence

import typer

from amphora_controller import (
    amphora_command,
    certs_command,
    doctor_command,
    fleet_command,
    setup_command,
    site_command,
    watch_command,
)
from amphora_controller.errors import ControllerError

app = typer.Typer(
    help="Set up and look after the controller side of Octavia's amphorae.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(amphora_command.app, name="amphora")
app.add_typer(certs_command.app, name="certs")
app.add_typer(fleet_command.app, name="fleet")
app.add_typer(site_command.app, name="site")
app.command()(site_command.config)
app.command()(watch_command.watch)
app.command()(setup_command.setup)
app.command()(setup_command.teardown)
app.command()(doctor_command.doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0 done, 1 or 2 as the command says, 3 it could not be done."""
    try:
        result = app(args=None if argv is None else list(argv), standalone_mode=False)
    except ControllerError as exc:
        print(f"amphoractl: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return 3
    except typer.TyperException as exc:
        print(exc.format_message(), file=sys.stderr)
        return 3
    except typer.Abort:
        return 130
    return result if isinstance(result, int) else 0
