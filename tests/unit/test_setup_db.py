# SPDX-License-Identifier: Apache-2.0
"""The step db where no server is needed; tests/openstack has the servers."""

from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.setup.db_server import Account, refuse_foreign
from tests.support.sites import loaded


def test_fault_of_the_administrator_is_named(tmp_path: Path) -> None:
    """A field that database.admin does not have is told with its place."""
    with pytest.raises(ControllerError) as caught:
        loaded(tmp_path, database__admin={"name": "root"})
    assert "database.admin: Object contains unknown field `name`" in caught.value.hint


def test_administrator_of_the_database_keeps_the_password(tmp_path: Path) -> None:
    """Neither the site nor what is made of it shows the passwords of the database."""
    site = loaded(tmp_path, database__admin={"user": "root", "password": "hidden-one"})
    assert "hidden-one" not in repr(site)
    account = Account(host="h", port=1, database="d", user="u", password="hidden-two")
    assert "hidden-two" not in repr(account)


@pytest.mark.parametrize("tables", [set(), {"alembic_version"}, {"amphora", "listener"}])
def test_own_database_is_accepted(tables: set[str]) -> None:
    """An empty database, an interrupted migration's, and a whole one are Octavia's."""
    refuse_foreign("octavia", frozenset(tables))


def test_foreign_database_is_refused() -> None:
    """A database with other tables is refused, also one that alembic looks after."""
    with pytest.raises(ControllerError, match="database octavia is not Octavia's"):
        refuse_foreign("octavia", frozenset({"alembic_version", "networks", "ports"}))
