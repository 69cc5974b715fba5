# SPDX-License-Identifier: Apache-2.0
"""The lab that the tests of a module share."""

from collections.abc import Iterator

import pytest

from tests.functional.conftest import Place
from tests.support import doctor_lab
from tests.support.doctor_lab import Lab


@pytest.fixture(scope="module")
def lab(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that the tests of this module share, and put back as it was."""
    with doctor_lab.lab(place, tmp_path_factory.mktemp("controller")) as made:
        yield made


@pytest.fixture
def well(lab: Lab) -> Lab:
    """The lab with octavia.conf as it should be."""
    lab.configure()
    return lab
