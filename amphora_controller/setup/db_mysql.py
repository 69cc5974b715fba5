# SPDX-License-Identifier: Apache-2.0
"""MySQL and MariaDB, for the step db."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR, ER

from amphora_controller.errors import ControllerError
from amphora_controller.setup.db_server import CONNECT_TIMEOUT_S, Account, Admin
from amphora_controller.setup.steps import Change

# Where an account that is made may come from; those that are there keep their hosts.
_ANYWHERE = "%"
# What Octavia and its migrations do. Servers differ in what else ALL means.
_NEEDED = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES"}
)
_RIGHTS = {
    ER.ACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.CANNOT_USER,
    # Accounts that the operating system vouches for (MariaDB's error list).
    1698,
}
_UNREACHED = {CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR, CR.CR_SERVER_LOST}
_LOGIN_REFUSED = {ER.ACCESS_DENIED_ERROR, 1698}


class MysqlServer:
    """See Server."""

    def __init__(self, account: Account, admin: Admin) -> None:
        self._account = account
        self._admin = admin

    def tables(self) -> frozenset[str] | None:
        """See Server."""
        name = self._account.database
        if not self._rows(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s", name
        ):
            return None
        rows = self._rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", name
        )
        return frozenset(row[0] for row in rows)

    def has_account(self) -> bool:
        """See Server."""
        return bool(self._hosts())

    def may_all(self) -> bool:
        """See Server; every account of the name must, since the server chooses one by the host."""
        return all(self._privileges(host) >= _NEEDED for host in self._hosts())

    def create_database(self) -> Change:
        """See Server."""
        statement = f"CREATE DATABASE {_name(self._account.database)} CHARACTER SET utf8mb4"
        return self._change(f"create database {self._account.database}", [(statement, ())])

    def create_account(self) -> Change:
        """See Server."""
        user = self._account.user
        statement = "CREATE USER %s@%s IDENTIFIED BY %s"
        return self._change(
            f"create database account {user}@{_ANYWHERE}",
            [(statement, (user, _ANYWHERE, self._account.password))],
        )

    def grant(self) -> Change:
        """See Server."""
        account = self._account
        statement = f"GRANT ALL PRIVILEGES ON {_name(_pattern(account.database))}.* TO %s@%s"
        return self._change(
            f"grant {account.user} all in database {account.database}",
            [(statement, (account.user, host)) for host in self._hosts()],
        )

    def set_password(self) -> Change:
        """See Server."""
        user = self._account.user
        return self._change(
            f"set the password of database account {user}: the site's is refused; whoever else "
            "uses the account needs the new one",
            [
                ("ALTER USER %s@%s IDENTIFIED BY %s", (user, host, self._account.password))
                for host in self._hosts()
            ],
        )

    def drop_database(self) -> Change:
        """See Server."""
        statement = f"DROP DATABASE {_name(self._account.database)}"
        return self._change(f"drop database {self._account.database}", [(statement, ())])

    def drop_account(self) -> Change:
        """See Server."""
        user = self._account.user
        return self._change(
            f"drop database account {user}",
            [("DROP USER %s@%s", (user, host)) for host in self._hosts()],
        )

    def _hosts(self) -> list[str]:
        rows = self._rows("SELECT host FROM mysql.user WHERE user = %s", self._account.user)
        return sorted(row[0] for row in rows)

    def _privileges(self, host: str) -> frozenset[str]:
        name, grantee = self._account.database, f"'{self._account.user}'@'{host}'"
        rows = self._rows(
            "SELECT privilege_type FROM information_schema.schema_privileges "
            "WHERE grantee = %s AND table_schema IN (%s, %s) "
            "UNION SELECT privilege_type FROM information_schema.user_privileges "
            "WHERE grantee = %s",
            *(grantee, name, _pattern(name), grantee),
        )
        return frozenset(row[0] for row in rows)

    def _change(self, what: str, statements: Sequence[tuple[str, tuple[str, ...]]]) -> Change:
        def do() -> None:
            with self._connected() as connection, connection.cursor() as cursor:
                for statement, values in statements:
                    # Without values, PyMySQL leaves a % alone.
                    cursor.execute(statement, values or None)

        shown = (self._shown(statement, values) for statement, values in statements)
        return Change(what=what, detail="\n".join(shown), do=do)

    def _shown(self, statement: str, values: tuple[str, ...]) -> str:
        hidden = ("…" if value == self._account.password else value for value in values)
        return statement % tuple(f"'{value}'" for value in hidden) if values else statement

    def _rows(self, query: str, *values: str) -> tuple[tuple[Any, ...], ...]:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return tuple(cursor.fetchall())

    @contextmanager
    def _connected(self) -> Iterator["Connection[Any]"]:
        """The administrator's connection.

        Raises:
            ControllerError: the server is not reached, or refuses.
        """
        admin = self._admin
        if admin.socket is not None and not Path(admin.socket).is_socket():
            raise _unreached(admin.socket, "there is no such socket")
        try:
            with pymysql.connect(
                host=admin.host,
                port=admin.port,
                # Goes before host and port.
                unix_socket=admin.socket,
                user=admin.user,
                password=_sent(admin.password),
                charset="utf8mb4",
                connect_timeout=CONNECT_TIMEOUT_S,
                autocommit=True,
            ) as connection:
                yield connection
        except pymysql.err.MySQLError as exc:
            raise _explained(exc, admin.socket or f"{admin.host}:{admin.port}") from exc


def can_log_in(account: Account) -> bool:
    """Whether Octavia is let in, from this host, with the site's password.

    Raises:
        ControllerError: the server is not reached, or refuses for another reason.
    """
    try:
        pymysql.connect(
            host=account.host,
            port=account.port,
            user=account.user,
            password=_sent(account.password),
            charset="utf8mb4",
            connect_timeout=CONNECT_TIMEOUT_S,
        ).close()
    except pymysql.err.MySQLError as exc:
        if _number(exc) in _LOGIN_REFUSED:
            return False
        raise _explained(exc, f"{account.host}:{account.port}") from exc
    return True


def _sent(password: str) -> bytes:
    """In UTF-8, as the server stores it; PyMySQL would send Latin-1."""
    return password.encode()


def _explained(exc: pymysql.err.MySQLError, where: str) -> ControllerError:
    said = str(exc.args[1]) if len(exc.args) > 1 else str(exc)
    if _number(exc) in _UNREACHED:
        return _unreached(where, said)
    if _number(exc) in _RIGHTS:
        return ControllerError(
            f"the database's administrator lacks a right: {said}",
            "database.admin in the site must be an account that may make databases and accounts, "
            "with its password; root by the socket mostly may",
        )
    return ControllerError(f"the database server at {where} refuses: {said}", "see its log")


def _unreached(where: str, said: str) -> ControllerError:
    return ControllerError(
        f"no database server answers at {where}: {said}",
        "see that it runs, and that host and port of database and database.admin are right",
    )


def _number(exc: pymysql.err.MySQLError) -> int:
    return exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0


def _name(name: str) -> str:
    """A name as a statement takes it."""
    return f"`{name.replace('`', '``')}`"


def _pattern(name: str) -> str:
    """A database in GRANT, where _ and % stand for any characters."""
    return name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
