# SPDX-License-Identifier: Apache-2.0
"""amphoractl: the controller side of amphorae, for operators."""

import sys
from collections.abc import Sequence
from pkgutil import resolve_name

import typer

from amphora_controller.errors import ControllerError

# By name, where each command, or group of commands, is. Only the one that was asked for is
# imported: openstacksdk and the drivers of databases take half a second, of which `certs check`,
# run by a monitoring system every minute, has no use.
_COMMANDS = {
    "config": "site_command:config",
    "watch": "watch_command:watch",
    "setup": "setup_command:setup",
    "teardown": "setup_command:teardown",
    "doctor": "doctor_command:doctor",
    "amphora": "amphora_command:app",
    "certs": "certs_command:app",
    "fleet": "fleet_command:app",
    "site": "site_command:app",
}


def _app(words: Sequence[str]) -> typer.Typer:
    """What the words begin with; every command for help, and for a word that is none."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    # With a callback a program of one command still wants the name of it.
    app.callback()(_program)
    first = words[0] if words else ""
    for name in [first] if first in _COMMANDS else _COMMANDS:
        found = resolve_name(f"amphora_controller.{_COMMANDS[name]}")
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _program() -> None:
    """Set up and look after the controller side of Octavia's amphorae."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0 done, 1 or 2 as the command says, 3 it could not be done."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        result = _app(words)(args=words, standalone_mode=False)
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
