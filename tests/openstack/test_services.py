# SPDX-License-Identifier: Apache-2.0
"""The step services, with the real octavia-db-manage of Octavia 19 and the real MariaDB.

Units are run by tests.support.units; tests/container has them with systemd.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amphora_controller import octavia_conf, programs
from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Cloud
from amphora_controller.setup.context import Context
from amphora_controller.setup.db import DbStep
from amphora_controller.setup.services import ServicesStep
from amphora_controller.site import Site
from tests.support import need
from tests.support.openstack.servers import HOST, Server
from tests.support.sites import loaded
from tests.support.units import FileUnits

HARD = "@:/?#[]%s%40$' \"`\\;--€größe-пароль"
UNITS = ("octavia-worker", "octavia-housekeeping")


def db_manage() -> Path:
    """octavia-db-manage of the environment that has Octavia."""
    python = os.environ.get("AMPHORA_OCTAVIA_PYTHON")
    program = Path(python or "python").with_name("octavia-db-manage")
    if python is None or not program.exists():
        need.missing("AMPHORA_OCTAVIA_PYTHON names no interpreter with Octavia; see ./test.sh")
    return program


@dataclass(frozen=True, kw_only=True)
class Place:
    """A controller with octavia.conf and units, and an empty database."""

    site: Site
    context: Context
    units: FileUnits
    unit_files: Path
    server: Server

    @property
    def conf(self) -> Path:
        """octavia.conf."""
        return Path(self.site.octavia.conf)

    @property
    def step(self) -> ServicesStep:
        """What is tested."""
        return ServicesStep(self.context, self.units)

    def apply(self) -> list[str]:
        """Do all changes; what was done."""
        done = []
        for change in self.step.changes():
            change.do()
            done.append(change.what)
        return done


def described(server: Server, name: str) -> dict[str, Any]:
    """`database` of the site."""
    return {
        "host": HOST,
        "name": name,
        "user": name,
        "password": HARD,
        "admin": server.admin(),
    }


@contextmanager
def made(server: Server, name: str, directory: Path) -> Iterator[Place]:
    """What the steps before have left on a controller; the database stays."""
    changed: dict[str, Any] = {
        "database": described(server, name),
        "octavia": {"conf": str(directory / "octavia.conf"), "owner": ""},
        "services": {"db_manage": str(db_manage()), "units": list(UNITS)},
    }
    site = loaded(directory, **changed)
    text = octavia_conf.render(
        site, site.controller("ctl1"), octavia_conf.stated_ids(site), "site.yaml"
    )
    Path(site.octavia.conf).write_text(text)
    context = Context(
        site=site, source="site.yaml", host="ctl1", cloud=Cloud(None), with_database=True
    )
    files = directory / "units"
    files.mkdir()
    for unit in UNITS:
        (files / f"{unit}.service").write_text("[Service]\nExecStart=true\n")
    units = FileUnits(files)
    units.read_files()
    with server.machine.namespace.entered():
        for change in DbStep(context).changes():
            change.do()
        yield Place(site=site, context=context, units=units, unit_files=files, server=server)


def drop(place: Place) -> None:
    """Remove the database."""
    with place.server.machine.namespace.entered():
        for change in DbStep(place.context).removals():
            change.do()


@pytest.fixture
def empty(servers: dict[str, Server], tmp_path: Path) -> Iterator[Place]:
    """A controller with an empty database."""
    with made(servers["mariadb"], f"test_{secrets.token_hex(3)}", tmp_path) as place:
        yield place
        drop(place)


@pytest.fixture(scope="module")
def migrated(servers: dict[str, Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database with all tables, which take their time."""
    name = f"test_{secrets.token_hex(3)}"
    with made(servers["mariadb"], name, tmp_path_factory.mktemp("migrated")) as place:
        place.apply()
    yield name
    drop(place)


@pytest.fixture
def place(servers: dict[str, Server], migrated: str, tmp_path: Path) -> Iterator[Place]:
    """A controller whose database has its tables, and where nothing runs."""
    with made(servers["mariadb"], migrated, tmp_path) as there:
        yield there


def test_tables_are_made_and_services_run(empty: Place) -> None:
    """Octavia's own migrations make its tables, through the password as octavia.conf has it."""
    done = empty.apply()
    assert done[0] == "bring the database's tables to this release of Octavia"
    tables = empty.server.do("SHOW TABLES", database=empty.site.database.name).split()
    assert {"amphora", "load_balancer", "listener", "alembic_version"} <= set(tables)
    for unit in UNITS:
        state = empty.units.state(f"{unit}.service")
        assert state.is_active
        assert state.is_enabled
    assert len(done) == 1 + 2 * len(UNITS)
    # The database with these tables is Octavia's own.
    assert list(DbStep(empty.context).changes()) == []


def test_second_run_changes_nothing(place: Place) -> None:
    """When the tables are of this release and the services run, there is no change."""
    place.apply()
    assert place.apply() == []


def test_tables_of_an_older_release_are_migrated(place: Place) -> None:
    """The tables of an older Octavia are to be migrated, and those of this one are not."""
    database = place.site.database.name
    newest = place.server.do("SELECT version_num FROM alembic_version", database=database)
    older = programs.run(
        str(db_manage()), "--config-file", str(place.conf), "history"
    ).stdout.split()[0]
    place.server.do(f"UPDATE alembic_version SET version_num = '{older}'", database=database)
    change = next(iter(place.step.changes()))
    assert f"from revision {older}" in change.detail
    place.server.do(
        f"UPDATE alembic_version SET version_num = '{newest.strip()}'", database=database
    )
    assert "revision" not in next(iter(place.step.changes())).detail


def test_changed_configuration_restarts_services(place: Place) -> None:
    """Services that run with an older octavia.conf are started anew, each once."""
    place.apply()
    # The kernel's clock for files is some milliseconds behind.
    time.sleep(0.05)
    os.utime(place.conf)
    done = place.apply()
    assert done == [
        f"restart {unit}.service, which runs with an older octavia.conf" for unit in UNITS
    ]
    assert place.apply() == []


def test_stopped_service_is_started(place: Place) -> None:
    """A service that does not run is started, and others are left alone."""
    place.apply()
    place.units.stop(f"{UNITS[0]}.service")
    assert place.apply() == [f"start {UNITS[0]}.service"]


def test_removals_stop_services_and_keep_tables(place: Place) -> None:
    """After the removals no service runs or is to be started, and the tables are there."""
    place.apply()
    for change in place.step.removals():
        change.do()
    assert list(place.step.removals()) == []
    assert not any(place.units.state(f"{unit}.service").is_active for unit in UNITS)
    assert place.server.do("SHOW TABLES", database=place.site.database.name)


def test_dry_run_tells_commands_without_secrets(empty: Place) -> None:
    """The dry run tells the commands of the migration and of systemd, and does nothing."""
    told = "\n".join(change.detail for change in empty.step.changes())
    assert f"--config-file {empty.conf} upgrade head" in told
    assert "systemctl enable octavia-worker.service" in told
    assert HARD not in told
    assert empty.server.do("SHOW TABLES", database=empty.site.database.name) == ""


def test_missing_unit_is_named(place: Place) -> None:
    """A unit that the host lacks is named with the next step."""
    (place.unit_files / "octavia-worker.service").unlink()
    place.units.read_files()
    with pytest.raises(ControllerError, match=r"there is no unit octavia-worker\.service"):
        place.apply()


def test_missing_configuration_is_named(place: Place) -> None:
    """Without octavia.conf nothing is started."""
    place.conf.unlink()
    with pytest.raises(ControllerError, match=r"there is no .*octavia\.conf"):
        place.apply()


def test_unreachable_database_is_told(place: Place) -> None:
    """When octavia-db-manage fails, its last line is told, and no service is started."""
    text = place.conf.read_text()
    place.conf.write_text(text.replace(f"@{HOST}/", f"@{HOST}:9/"))
    with pytest.raises(ControllerError, match=r"octavia-db-manage current failed: .*connect"):
        place.apply()
    assert not place.units.state("octavia-worker.service").is_active
