# SPDX-License-Identifier: Apache-2.0
"""The database: it is there, Octavia's account may do everything in it, and the password is right.

Its tables are made by the step services, with Octavia's own migrations.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from amphora_controller.errors import ControllerError
from amphora_controller.setup import db_mysql, db_postgresql
from amphora_controller.setup.context import Context
from amphora_controller.setup.db_server import Account, Admin, Server, refuse_foreign
from amphora_controller.setup.steps import Change
from amphora_controller.site import Database, Engine
from amphora_controller.site_host import DatabaseAdmin

_PORTS = {Engine.MYSQL: 3306, Engine.POSTGRESQL: 5432}
_LOGINS: Mapping[Engine, Callable[[Account], bool]] = {
    Engine.MYSQL: db_mysql.can_log_in,
    Engine.POSTGRESQL: db_postgresql.can_log_in,
}
_SERVERS: Mapping[Engine, Callable[[Account, Admin], Server]] = {
    Engine.MYSQL: db_mysql.MysqlServer,
    Engine.POSTGRESQL: db_postgresql.PostgresqlServer,
}
_SUPERUSERS = {Engine.MYSQL: "root", Engine.POSTGRESQL: "postgres"}


@dataclass(frozen=True, slots=True)
class DbStep:
    """The database, the account and its rights, where the site has an administrator for them."""

    context: Context
    name = "db"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        database = self.context.site.database
        admin = database.admin
        if admin is None:
            return
        if admin.socket is not None and not Path(admin.socket).exists():
            self._expect_login(database, admin.socket)
            return
        server = _server(database, admin)
        tables = server.tables()
        if tables is not None:
            refuse_foreign(database.name, tables)
        # PostgreSQL's database has an owner, who comes first.
        is_new = not server.has_account()
        if is_new:
            yield server.create_account()
        if tables is None:
            yield server.create_database()
        if self.context.dry_run and (is_new or tables is None):
            return
        if not server.may_all():
            yield server.grant()
        if not _LOGINS[database.engine](_account(database)):
            yield server.set_password()

    def removals(self) -> Iterator[Change]:
        """See Step; what load balancers there are stands in the database, so it is kept by default.

        Raises:
            ControllerError: the site names no administrator.
        """
        if not self.context.with_database:
            return
        database = self.context.site.database
        if database.admin is None:
            raise ControllerError(
                "the site names no administrator of the database", "set database.admin"
            )
        server = _server(database, database.admin)
        tables = server.tables()
        if tables is not None:
            refuse_foreign(database.name, tables)
            yield server.drop_database()
        if server.has_account():
            yield server.drop_account()

    def _expect_login(self, database: Database, socket: str) -> None:
        """See that the database was prepared, on a controller that is not its own."""
        if not _LOGINS[database.engine](_account(database)):
            raise ControllerError(
                f"the database does not let {database.user} in with the site's password, and "
                f"{socket} of its administrator is not on this host",
                "run amphoractl setup db where the database runs, or set database.admin.host",
            )


def _account(database: Database) -> Account:
    return Account(
        host=database.host,
        port=_port(database),
        database=database.name,
        user=database.user,
        password=database.password,
    )


def _server(database: Database, stated: DatabaseAdmin) -> Server:
    admin = Admin(
        host=stated.host or database.host,
        port=stated.port or _port(database),
        user=stated.user or _SUPERUSERS[database.engine],
        password=stated.password,
        socket=stated.socket,
    )
    return _SERVERS[database.engine](_account(database), admin)


def _port(database: Database) -> int:
    return database.port or _PORTS[database.engine]
