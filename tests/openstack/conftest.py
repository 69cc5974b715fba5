# SPDX-License-Identifier: Apache-2.0
"""One cloud for all tests; each cleans up after itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import need
from tests.support.openstack import cloud as lab
from tests.support.openstack.cloud import Cloud
from tests.support.openstack.contents import contents, difference
from tests.support.openstack.operator import Operator
from tests.support.openstack.operator import operator as an_operator
from tests.support.openstack.servers import Server
from tests.support.openstack.servers import servers as both_servers


def need_programs() -> None:
    """Skip or fail where a cloud cannot be started."""
    need.root()
    need.programs("ip", "nsenter", "unshare")
    if not lab.is_installed():
        need.missing(f"no cloud's programs in {lab.ROOT}; ./test.sh --openstack makes it")


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that answers."""
    need_programs()
    with lab.cloud(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """MariaDB and PostgreSQL, without a cloud."""
    need_programs()
    with both_servers(lab.ROOT, tmp_path_factory.mktemp("databases")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that has the cloud leaves it as it was, or fails."""
    if "cloud" not in request.fixturenames:
        yield
        return
    shared: Cloud = request.getfixturevalue("cloud")
    before = contents(shared)
    yield
    assert difference(before, contents(shared)) == {}


@pytest.fixture
def operator(cloud: Cloud, tmp_path: Path) -> Iterator[Operator]:
    """Somebody with a site for the cloud, of which nothing is made yet."""
    with an_operator(cloud, tmp_path) as made:
        yield made
