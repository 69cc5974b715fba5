# SPDX-License-Identifier: Apache-2.0
"""All steps of setup in their order, on a controller beside a real cloud.

In the place of the host's systemd is tests.support.units, so that the steps are put together here
and not by the command.
"""

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from amphora_controller import site
from amphora_controller.setup import engine, registry
from amphora_controller.setup.cloud import Cloud as Door
from amphora_controller.setup.context import Context
from amphora_controller.setup.engine import Outcome, State
from amphora_controller.setup.hm_port import HmPortStep
from amphora_controller.setup.hm_port_host import Place
from amphora_controller.setup.services import ServicesStep
from amphora_controller.setup.steps import Step
from tests.openstack.test_services import UNITS, db_manage
from tests.support import need
from tests.support.netns import run
from tests.support.openstack import database
from tests.support.openstack.operator import HOST, SECRETS, Operator
from tests.support.openvswitch import BRIDGE, OpenVSwitch, open_vswitch
from tests.support.units import FileUnits


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A host on which nothing is set up yet."""

    operator: Operator
    vswitch: OpenVSwitch
    units: FileUnits
    said: list[str]

    def steps(self, context: Context) -> list[Step]:
        """All steps, with another service manager."""
        place = Place(
            units=self.operator.directory / "units", rules=self.operator.directory / "rules.nft"
        )
        return [
            HmPortStep(context, place, self.units)
            if isinstance(step, HmPortStep)
            else ServicesStep(context, self.units)
            if isinstance(step, ServicesStep)
            else step
            for step in registry.all_steps(context)
        ]

    def setup(self) -> list[Outcome]:
        """What `amphoractl setup` does."""
        steps = self.steps(self._context())
        return engine.run(steps, lambda step: step.changes(), dry_run=False, say=self.said.append)

    def teardown(self) -> list[Outcome]:
        """What `amphoractl teardown --certificates --database` does."""
        context = dataclasses.replace(self._context(), with_certificates=True, with_database=True)
        steps = self.steps(context)[::-1]
        return engine.run(steps, lambda step: step.removals(), dry_run=False, say=self.said.append)

    def _context(self) -> Context:
        return Context(
            site=site.load(self.operator.site),
            source="site.yaml",
            host=HOST,
            cloud=Door(self.operator.cloud.name),
        )


@pytest.fixture
def controller(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """A controller with Open vSwitch, Octavia's programs and its units."""
    need.programs("ip", "nft", "ovs-vsctl")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(operator.cloud.clouds_yaml))
    files = operator.directory / "units"
    files.mkdir()
    for unit in UNITS:
        (files / f"{unit}.service").write_text("[Service]\nExecStart=true\n")
    inside = operator.cloud.namespace
    with (
        tempfile.TemporaryDirectory(prefix="ovs-") as short,
        open_vswitch(inside, Path(short)) as vswitch,
    ):
        vswitch.add_bridge()
        operator.change(
            database__host="127.0.0.1",
            database__admin={
                "user": database.OPERATOR,
                "password": database.OPERATOR_PASSWORD,
            },
            host={"plug": "ovs", "ovs_database": vswitch.database},
            services={"db_manage": str(db_manage()), "units": list(UNITS)},
        )
        units = FileUnits(files)
        units.read_files()
        made = Controller(operator=operator, vswitch=vswitch, units=units, said=[])
        with inside.entered():
            yield made
            # Also after a failure.
            made.teardown()
        vswitch.vsctl("del-br", BRIDGE)


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What went wrong."""
    return [f"{outcome.step}: {outcome.error}" for outcome in outcomes if outcome.error is not None]


def test_everything_is_made_once_and_removed(controller: Controller) -> None:
    """One run makes all, the next one nothing, and after a teardown nothing of it is left."""
    before = _host(controller)
    first = controller.setup()
    assert failures(first) == []
    quiet = {outcome.step for outcome in first if outcome.state is State.SAME}
    assert quiet == {"verify"}
    text = controller.operator.conf.read_text()
    assert "bind_ip = 192.0.2.11" in text
    assert "connection = mysql+pymysql://octavia:" in text
    assert all(controller.units.state(f"{unit}.service").is_active for unit in UNITS)
    assert "192.0.2.11/24" in "".join(_host(controller))

    second = controller.setup()
    assert {outcome.state for outcome in second} == {State.SAME}

    gone = controller.teardown()
    assert failures(gone) == []
    assert _host(controller) == before
    said = "\n".join(controller.said)
    assert not [secret for secret in SECRETS if secret in said]
    again = controller.teardown()
    assert {outcome.state for outcome in again} == {State.SAME}


def _host(controller: Controller) -> list[str]:
    """What of the host setup may change: interfaces, addresses, routes, rules, files."""
    inside = controller.operator.cloud.namespace
    shown = [
        run(*inside.command(*argv))
        for argv in (
            ("ip", "-brief", "address", "show"),
            ("ip", "route", "show"),
            ("nft", "list", "ruleset"),
        )
    ]
    directory = controller.operator.directory
    paths = (path for path in directory.rglob("*") if path.is_file())
    return [*shown, *sorted(os.fspath(path.relative_to(directory)) for path in paths)]
