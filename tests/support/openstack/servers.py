# SPDX-License-Identifier: Apache-2.0
"""Database servers as a test of setup meets them: both kinds alike."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pymysql

from tests.support.netns import namespace
from tests.support.openstack import database, postgresql
from tests.support.openstack.machine import Machine, machine

HOST = "127.0.0.1"


class Server(Protocol):
    """A kind of server."""

    @property
    def machine(self) -> Machine:
        """Where it runs."""

    @property
    def engine(self) -> str:
        """`database.engine` of the site."""

    def admin(self) -> dict[str, Any]:
        """`database.admin` of the site, by socket."""

    def admin_by_tcp(self) -> dict[str, Any]:
        """The same by host and port."""

    def weak_admin(self) -> dict[str, Any]:
        """Somebody who may log in and nothing else."""

    def log_in(self, name: str, password: str) -> None:
        """Log in as the account to the database of its name, make a table, remove it."""

    def do(self, *statements: str, database: str | None = None) -> str:
        """What the server's own administrator does beside."""

    def contents(self) -> str:
        """Everything that setup could have made."""


@dataclass(frozen=True, kw_only=True)
class MariaDb:
    """See Server."""

    machine: Machine
    engine: str = "mysql"

    def admin(self) -> dict[str, Any]:
        """See Server."""
        return {"socket": str(self.machine.path("/run/mysqld/mysqld.sock"))}

    def admin_by_tcp(self) -> dict[str, Any]:
        """See Server."""
        return {"user": database.OPERATOR, "password": database.OPERATOR_PASSWORD}

    def weak_admin(self) -> dict[str, Any]:
        """See Server."""
        return {"user": "openstack", "password": "openstack-secret"}

    def log_in(self, name: str, password: str) -> None:
        """See Server."""
        with (
            pymysql.connect(
                host=HOST, user=name, password=password.encode(), database=name
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("CREATE TABLE probe (id INT)")
            cursor.execute("DROP TABLE probe")

    def do(self, *statements: str, database: str | None = None) -> str:
        """See Server."""
        text = "".join(f"{statement};\n" for statement in statements)
        where = (database,) if database else ()
        return self.machine.run("mariadb", "--batch", "--skip-column-names", *where, stdin=text)

    def contents(self) -> str:
        """See Server."""
        return self.do(
            "SHOW DATABASES",
            "SELECT user, host, authentication_string FROM mysql.user ORDER BY user, host",
            "SELECT * FROM mysql.db ORDER BY db, user, host",
        )


@dataclass(frozen=True, kw_only=True)
class PostgreSql:
    """See Server."""

    machine: Machine
    sockets: Path
    engine: str = "postgresql"

    def admin(self) -> dict[str, Any]:
        """See Server."""
        return {"socket": str(self.sockets), "user": postgresql.SUPERUSER}

    def admin_by_tcp(self) -> dict[str, Any]:
        """See Server."""
        return {"user": postgresql.SUPERUSER, "password": postgresql.PASSWORD}

    def weak_admin(self) -> dict[str, Any]:
        """See Server."""
        return {"socket": str(self.sockets), "user": postgresql.UNPRIVILEGED}

    def log_in(self, name: str, password: str) -> None:
        """See Server."""
        with psycopg.connect(host=HOST, user=name, password=password, dbname=name) as connection:
            connection.execute("CREATE TABLE probe (id INT)")
            connection.execute("DROP TABLE probe")

    def do(self, *statements: str, database: str | None = None) -> str:
        """See Server."""
        return postgresql.query(self.machine, *statements, database=database or "postgres")

    def contents(self) -> str:
        """See Server."""
        return self.do(
            "SELECT datname, datdba FROM pg_database ORDER BY 1",
            "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid ORDER BY 1",
        )


@contextmanager
def servers(root: Path, directory: Path) -> Iterator[dict[str, Server]]:
    """Both, in a machine of their own.

    Args:
        root: see tests.support.openstack.machine.
    """
    # The machine has the host's /dev.
    sockets = Path("/dev/shm", f"test-postgresql-{secrets.token_hex(4)}")
    try:
        with namespace("databases") as inside, machine(root, directory, inside) as host:
            database.start(host)
            postgresql.start(host, sockets)
            yield {
                "mariadb": MariaDb(machine=host),
                "postgresql": PostgreSql(machine=host, sockets=sockets),
            }
    finally:
        for path in sockets.glob("*"):
            path.unlink(missing_ok=True)
        if sockets.exists():
            sockets.rmdir()
