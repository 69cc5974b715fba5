# SPDX-License-Identifier: Apache-2.0
"""What the step db asks a database server, and has it do."""

from dataclasses import dataclass
from typing import Protocol

from amphora_controller.errors import ControllerError
from amphora_controller.setup.steps import Change

# Longer than a server under load needs, shorter than patience.
CONNECT_TIMEOUT_S = 10
# What Octavia's very first migration makes, among others.
_MARK = "amphora"
# Of alembic, which runs the migrations.
_BOOKKEEPING = {"alembic_version"}
_SHOWN_TABLES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Octavia's database, and who Octavia is there.

    Attributes:
        database: its name.
    """

    host: str
    port: int
    database: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.user!r} at {self.host!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Admin:
    """Who may make databases and accounts, by socket or by host and port."""

    host: str
    port: int
    user: str
    password: str
    socket: str | None = None

    def __repr__(self) -> str:
        return f"Admin({self.user!r} at {self.socket or self.host!r})"


class Server(Protocol):
    """A server, connected for each question anew.

    What asks it raises ControllerError if it is not reached, or if the administrator lacks a right.
    Details of changes are statements without passwords.
    """

    def tables(self) -> frozenset[str] | None:
        """Names of the tables of Octavia's database; None when there is no such database."""

    def has_account(self) -> bool:
        """Whether Octavia's account is there."""

    def may_all(self) -> bool:
        """Whether the account may do in the database what Octavia and its migrations do."""

    def create_database(self) -> Change:
        """Make the database."""

    def create_account(self) -> Change:
        """Make the account, with the site's password."""

    def grant(self) -> Change:
        """Let the account do everything in the database."""

    def set_password(self) -> Change:
        """Give the account the site's password."""

    def drop_database(self) -> Change:
        """Remove the database with all that is in it."""

    def drop_account(self) -> Change:
        """Remove the account."""


def refuse_foreign(name: str, tables: frozenset[str]) -> None:
    """See that a database is Octavia's, or empty.

    Raises:
        ControllerError: it belongs to another program.
    """
    if _MARK in tables or tables <= _BOOKKEEPING:
        return
    shown = ", ".join(sorted(tables)[:_SHOWN_TABLES])
    raise ControllerError(
        f"database {name} is not Octavia's: it has tables {shown} …",
        "it was not touched; give the site another database.name",
    )
