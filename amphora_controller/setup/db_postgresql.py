# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL, for the step db."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from amphora_controller.errors import ControllerError
from amphora_controller.setup.db_server import CONNECT_TIMEOUT_S, Account, Admin
from amphora_controller.setup.steps import Change

# Has no tables of anybody's, and is always there.
_MAINTENANCE = "postgres"
# The server tells no code at a login, and these words in English alone.
_LOGIN_REFUSED = ("password authentication failed", "no password supplied")


class PostgresqlServer:
    """See Server."""

    def __init__(self, account: Account, admin: Admin) -> None:
        self._account = account
        self._admin = admin

    def tables(self) -> frozenset[str] | None:
        """See Server."""
        name = self._account.database
        if not self._rows("SELECT 1 FROM pg_database WHERE datname = %s", name):
            return None
        rows = self._rows(
            "SELECT tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
            database=name,
        )
        return frozenset(row[0] for row in rows)

    def has_account(self) -> bool:
        """See Server."""
        return bool(self._rows("SELECT 1 FROM pg_roles WHERE rolname = %s", self._account.user))

    def may_all(self) -> bool:
        """See Server; who owns the database may."""
        return bool(
            self._rows(
                "SELECT 1 FROM pg_database AS d JOIN pg_roles AS r ON d.datdba = r.oid "
                "WHERE d.datname = %s AND r.rolname = %s AND r.rolcanlogin",
                self._account.database,
                self._account.user,
            )
        )

    def create_database(self) -> Change:
        """See Server."""
        # template0, since another template may have another encoding.
        statement = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0")
        return self._change(
            f"create database {self._account.database}",
            statement.format(
                sql.Identifier(self._account.database), sql.Identifier(self._account.user)
            ),
        )

    def create_account(self) -> Change:
        """See Server."""
        return self._with_password(
            f"create database account {self._account.user}", "CREATE ROLE {} LOGIN PASSWORD {}"
        )

    def grant(self) -> Change:
        """See Server."""
        account = self._account
        statement = sql.SQL("ALTER DATABASE {} OWNER TO {}; ALTER ROLE {} LOGIN")
        user = sql.Identifier(account.user)
        return self._change(
            f"make {account.user} the owner of database {account.database}",
            statement.format(sql.Identifier(account.database), user, user),
        )

    def set_password(self) -> Change:
        """See Server."""
        return self._with_password(
            f"set the password of database account {self._account.user}: the site's is refused; "
            "whoever else uses the account needs the new one",
            "ALTER ROLE {} PASSWORD {}",
        )

    def drop_database(self) -> Change:
        """See Server."""
        statement = sql.SQL("DROP DATABASE {}").format(sql.Identifier(self._account.database))
        return self._change(f"drop database {self._account.database}", statement)

    def drop_account(self) -> Change:
        """See Server."""
        statement = sql.SQL("DROP ROLE {}").format(sql.Identifier(self._account.user))
        return self._change(f"drop database account {self._account.user}", statement)

    def _change(self, what: str, statement: sql.Composed) -> Change:
        def do() -> None:
            with self._connected() as connection:
                connection.execute(statement)

        return Change(what=what, detail=statement.as_string(None), do=do)

    def _with_password(self, what: str, statement: str) -> Change:
        """A change whose statement takes the account and its password."""
        account = self._account
        user = sql.Identifier(account.user)

        def composed(password: str) -> sql.Composed:
            return sql.SQL(statement).format(user, sql.Literal(password))

        def do() -> None:
            with self._connected() as connection:
                # The server, and its log, never see the password itself.
                verifier = connection.pgconn.encrypt_password(
                    account.password.encode(), account.user.encode()
                )
                connection.execute(composed(verifier.decode()))

        return Change(what=what, detail=composed("…").as_string(None), do=do)

    def _rows(
        self, query: str, *values: str, database: str = _MAINTENANCE
    ) -> list[tuple[Any, ...]]:
        with self._connected(database) as connection:
            return connection.execute(query, values or None).fetchall()

    @contextmanager
    def _connected(self, database: str = _MAINTENANCE) -> Iterator["psycopg.Connection[Any]"]:
        """The administrator's connection.

        Raises:
            ControllerError: the server is not reached, or refuses.
        """
        admin = self._admin
        try:
            with _as_peer(admin):
                connection = psycopg.connect(
                    host=admin.socket or admin.host,
                    port=admin.port,
                    user=admin.user,
                    password=admin.password or None,
                    dbname=database,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    autocommit=True,
                )
            with connection:
                yield connection
        except psycopg.Error as exc:
            raise _explained(exc, admin.socket or f"{admin.host}:{admin.port}") from exc


def can_log_in(account: Account) -> bool:
    """Whether Octavia is let in, from this host, with the site's password.

    Raises:
        ControllerError: the server is not reached, or refuses for another reason.
    """
    try:
        psycopg.connect(
            host=account.host,
            port=account.port,
            user=account.user,
            password=account.password,
            dbname=account.database,
            connect_timeout=CONNECT_TIMEOUT_S,
        ).close()
    except psycopg.OperationalError as exc:
        if any(words in str(exc) for words in _LOGIN_REFUSED):
            return False
        raise _explained(exc, f"{account.host}:{account.port}") from exc
    return True


@contextmanager
def _as_peer(admin: Admin) -> Iterator[None]:
    """Connect by the socket as the operating system's user of that name, if root asks.

    The server trusts that user, and not root (PostgreSQL's "Peer Authentication").
    """
    uid = _uid(admin.user) if admin.socket is not None and os.geteuid() == 0 else None
    if uid is None:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _explained(exc: psycopg.Error, where: str) -> ControllerError:
    said = " ".join(str(exc).split())
    if isinstance(exc, psycopg.errors.InsufficientPrivilege) or "authentication failed" in said:
        return ControllerError(
            f"the database's administrator lacks a right: {said}",
            "database.admin in the site must be an account that may make databases and roles; "
            "postgres by the socket does",
        )
    if "pg_hba.conf" in said:
        return ControllerError(
            said, "let the account in from this host in the server's pg_hba.conf"
        )
    # What a server says itself begins so, in most of its languages.
    if isinstance(exc, psycopg.OperationalError) and "FATAL:" not in said:
        return ControllerError(
            f"no database server answers at {where}: {said}",
            "see that it runs, and that database.host and port in the site are right",
        )
    return ControllerError(f"the database server at {where} refuses: {said}", "see its log")
