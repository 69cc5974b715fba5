# SPDX-License-Identifier: Apache-2.0
"""The step db, with the real MariaDB and the real PostgreSQL."""

import dataclasses
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Cloud
from amphora_controller.setup.context import Context
from amphora_controller.setup.db import DbStep
from tests.support.openstack.servers import HOST, MariaDb, Server
from tests.support.sites import loaded

# Of URLs, shells, SQL of both kinds, PyMySQL's own placeholders, Latin-1, and none of it.
HARD = "@:/?#[]%s%40$' \"`\\;--€größe-пароль"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A server, a name that nothing has there, and who sets up."""

    server: Server
    name: str
    directory: Path

    def step(self, *, password: str = HARD, dry_run: bool = False, **other: Any) -> DbStep:
        """The step for a site whose database and account have the name."""
        stated = {"admin": self.server.admin(), "name": self.name, "user": self.name, **other}
        described = {"engine": self.server.engine, "host": HOST, "password": password, **stated}
        site = loaded(self.directory, database=described)
        return DbStep(
            Context(
                site=site,
                source="site.yaml",
                host="ctl1",
                cloud=Cloud(None),
                dry_run=dry_run,
                with_database=True,
            )
        )


@pytest.fixture(params=["mariadb", "postgresql"])
def place(
    request: pytest.FixtureRequest, servers: dict[str, Server], tmp_path: Path
) -> Iterator[Place]:
    """A server of each kind; the test runs where it is reached, and leaves it as it was."""
    server = servers[request.param]
    before = server.contents()
    # A _ stands for any character in GRANT of MySQL, and both need quotes for a dash.
    made = Place(server=server, name=f"test_{secrets.token_hex(3)}-x", directory=tmp_path)
    with server.machine.namespace.entered():
        yield made
        remove(made.step())
    assert server.contents() == before


def apply(step: DbStep) -> list[str]:
    """Do all changes; what was done."""
    done = []
    for change in step.changes():
        change.do()
        done.append(change.what)
    return done


def remove(step: DbStep) -> list[str]:
    """Do all removals; what was done."""
    done = []
    for change in step.removals():
        change.do()
        done.append(change.what)
    return done


def test_octavia_may_do_everything_in_its_database(place: Place) -> None:
    """With the site's password, whatever it is made of, the account makes tables."""
    assert apply(place.step())
    place.server.log_in(place.name, HARD)
    with pytest.raises((pymysql.err.OperationalError, psycopg.OperationalError)):
        place.server.log_in(place.name, f"{HARD}x")


def test_second_run_changes_nothing(place: Place) -> None:
    """A second run does nothing, by the socket and by the network."""
    apply(place.step(admin=place.server.admin_by_tcp()))
    before = place.server.contents()
    assert apply(place.step(admin=place.server.admin_by_tcp())) == []
    assert apply(place.step()) == []
    assert place.server.contents() == before


def test_details_keep_the_password(place: Place) -> None:
    """A dry run shows statements without the password, and changes nothing."""
    before = place.server.contents()
    told = [f"{change.what} {change.detail}" for change in place.step(dry_run=True).changes()]
    assert len(told) == 2
    assert "CREATE DATABASE" in "".join(told)
    assert HARD not in "".join(told)
    assert "пароль" not in "".join(told)
    assert place.server.contents() == before


def test_changed_password_is_set_with_a_notice(place: Place) -> None:
    """When the site's password changes, the account gets it, and the change says so."""
    apply(place.step())
    (what,) = apply(place.step(password="another"))
    assert "whoever else uses the account needs the new one" in what
    place.server.log_in(place.name, "another")


def test_missing_rights_are_granted(place: Place) -> None:
    """An account and a database made by hand, without rights, are completed."""
    if isinstance(place.server, MariaDb):
        place.server.do(
            f"CREATE DATABASE `{place.name}`",
            f"CREATE USER '{place.name}'@'localhost' IDENTIFIED BY 'by-hand'",
            f"CREATE USER '{place.name}'@'127.0.0.1' IDENTIFIED BY 'by-hand'",
            f"GRANT SELECT ON `{place.name}`.* TO '{place.name}'@'127.0.0.1'",
        )
    else:
        place.server.do(f'CREATE DATABASE "{place.name}"', f'CREATE ROLE "{place.name}"')
    assert len(apply(place.step())) == 2
    place.server.log_in(place.name, HARD)
    assert apply(place.step()) == []


def test_interrupted_run_goes_on(place: Place) -> None:
    """After a run that was broken off, the next one does what was left."""
    next(place.step().changes()).do()
    assert apply(place.step())
    assert apply(place.step()) == []
    place.server.log_in(place.name, HARD)


def test_foreign_database_is_not_touched(place: Place) -> None:
    """A database with another program's tables is refused, by setup and by teardown."""
    quote = "`" if isinstance(place.server, MariaDb) else '"'
    place.server.do(f"CREATE DATABASE {quote}{place.name}{quote}")
    place.server.do("CREATE TABLE wp_posts (id INT)", database=place.name)
    before = place.server.contents()
    for run in (apply, remove):
        with pytest.raises(ControllerError, match=r"is not Octavia's: it has tables wp_posts"):
            run(place.step())
    assert place.server.contents() == before
    place.server.do("DROP TABLE wp_posts", database=place.name)


def test_teardown_keeps_the_database_unless_asked(place: Place) -> None:
    """Without --database nothing is removed; with it, database and account are gone."""
    apply(place.step())
    before = place.server.contents()
    step = place.step()
    assert remove(DbStep(dataclasses.replace(step.context, with_database=False))) == []
    assert place.server.contents() == before
    assert len(remove(step)) == 2
    assert remove(step) == []


def test_administrator_without_rights_is_told(place: Place) -> None:
    """Who may not make databases is told that a right is missing."""
    with pytest.raises(ControllerError, match="administrator lacks a right"):
        apply(place.step(admin=place.server.weak_admin()))


def test_wrong_password_of_the_administrator_is_told(place: Place) -> None:
    """An administrator with a wrong password is told so, not an account's."""
    admin = {**place.server.admin_by_tcp(), "password": "wrong"}
    with pytest.raises(ControllerError, match="administrator lacks a right"):
        apply(place.step(admin=admin))


def test_absent_server_is_named(place: Place) -> None:
    """Where no server answers, the error names address and port."""
    admin = place.server.admin_by_tcp()
    with pytest.raises(ControllerError, match=r"no database server answers at 127\.0\.0\.1:9"):
        apply(place.step(admin=admin, port=9))


def test_other_controller_only_looks(place: Place) -> None:
    """Without the administrator's socket the step sees whether Octavia is let in."""
    elsewhere = {**place.server.admin(), "socket": "/nowhere"}
    with pytest.raises(ControllerError, match=r"(not on this host|does not exist)"):
        apply(place.step(admin=elsewhere))
    apply(place.step())
    assert apply(place.step(admin=elsewhere)) == []
    with pytest.raises(ControllerError, match="/nowhere of its administrator is not on this host"):
        apply(place.step(admin=elsewhere, password="another"))
    with pytest.raises(ControllerError, match="no database server answers at /nowhere"):
        remove(place.step(admin=elsewhere))


def test_site_without_an_administrator_has_nothing_to_do(place: Place) -> None:
    """Where the site names no administrator, nothing is asked; teardown cannot drop anything."""
    assert apply(place.step(admin=None, port=9)) == []
    with pytest.raises(ControllerError, match="names no administrator"):
        remove(place.step(admin=None))
