# SPDX-License-Identifier: Apache-2.0
"""What the tests of the built image share: the lab, the authorities, Octavia, the measurements.

The tests of one module tell a story about one boot, in the order of the file: when a step fails,
the steps after it are skipped.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support import heartbeats, lab, measurements, need, pki, ssh
from tests.support.accelerator import choose
from tests.support.guest import Guest, Hardware, Plan
from tests.support.heartbeats import Listener
from tests.support.lab import Lab
from tests.support.measurements import Measurements
from tests.support.octavia_driver import ControllerConfig, Octavia, octavia

HEARTBEAT_KEY = "heartbeat-key_of.the.image-test"

_IMAGE_VARIABLE = "AMPHORA_IMAGE"
_REPOSITORY = Path(__file__).resolve().parents[2]
_CONSOLE_LINES = 60
_JOURNAL_LINES = 120

_MEASUREMENTS = pytest.StashKey[Measurements]()
_FAILED_STEPS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MEASUREMENTS] = Measurements()
    config.stash[_FAILED_STEPS] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.image)


@pytest.fixture(autouse=True)
def earlier_steps(request: pytest.FixtureRequest) -> None:
    """Skip a step whose story has already failed."""
    failed = request.config.stash[_FAILED_STEPS].get(request.module.__name__)
    if failed:
        pytest.skip(f"an earlier step of the story failed: {failed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the amphora said beside the failure of a test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function) and item.module:
        item.config.stash[_FAILED_STEPS].setdefault(item.module.__name__, item.name)
        guest = item.funcargs.get("guest")
        if isinstance(guest, Guest):
            tail = guest.machine.console().splitlines()[-_CONSOLE_LINES:]
            report.sections.append(("serial console", "\n".join(tail)))
            report.sections.append(("journal", guest.journal(_JOURNAL_LINES)))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the measurements, and write them where AMPHORA_MEASUREMENTS says."""
    taken = config.stash[_MEASUREMENTS]
    if not taken.figures:
        return
    terminalreporter.section(f"measurements (QEMU with {taken.accelerator})")
    for line in taken.table():
        terminalreporter.write_line(line)
    path = os.environ.get(measurements.FILE_VARIABLE)
    if path:
        taken.write(Path(path))


@pytest.fixture(scope="session")
def image() -> Path:
    """The image under test."""
    path = Path(os.environ.get(_IMAGE_VARIABLE) or _REPOSITORY / "amphora-x64-haproxy.qcow2")
    if not path.exists():
        need.missing(f"no image at {path}; ./build.sh makes one, {_IMAGE_VARIABLE} names another")
    return path


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Measurements:
    """Where measurements go."""
    return pytestconfig.stash[_MEASUREMENTS]


@pytest.fixture(scope="session")
def hardware(image: Path, figures: Measurements) -> Hardware:
    """What machines are made of."""
    need.programs("qemu-system-x86_64", "qemu-img", "xorriso", "ssh")
    accelerator = choose()
    figures.accelerator = accelerator.value
    return Hardware(image=image, accelerator=accelerator)


@pytest.fixture(scope="session")
def networks() -> Iterator[Lab]:
    need.root()
    need.programs("ip")
    with lab.lab() as built:
        yield built


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> ssh.KeyPair:
    return ssh.create_key_pair(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def controller(
    networks: Lab, authorities: pki.Pki, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Octavia]:
    """Octavia's driver, inside the lab."""
    config = ControllerConfig(
        directory=tmp_path_factory.mktemp("octavia"),
        pki=authorities,
        heartbeat_key=HEARTBEAT_KEY,
        heartbeat_targets=((networks.controller, heartbeats.PORT),),
    )
    with octavia(config, networks.namespace) as peer:
        yield peer


@pytest.fixture(scope="module")
def health_manager(networks: Lab) -> Iterator[Listener]:
    """Where heartbeats arrive."""
    with heartbeats.listener(networks.namespace, networks.controller) as ear:
        yield ear


@pytest.fixture(scope="module")
def plan(networks: Lab, authorities: pki.Pki, keys: ssh.KeyPair) -> Plan:
    """An amphora of the module's own."""
    return Plan(networks=networks, pki=authorities, keys=keys)
