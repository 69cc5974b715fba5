# SPDX-License-Identifier: Apache-2.0
"""`amphoractl doctor` and the image: what its units tell is what doctor looks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from amphora_agent.balancer.values import decode
from amphora_controller import cli, octavia_conf
from amphora_controller.certificates.store import Store
from amphora_controller.site import Site
from tests.image.conftest import HEARTBEAT_KEY
from tests.support import doctor_lab
from tests.support.container import Container
from tests.support.doctor_lab import Report
from tests.support.guest import Plan
from tests.support.yard import Yard

# Heartbeats come every ten seconds.
_LIMIT_S = "15"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """An amphora of the image, and the octavia.conf of its controller."""

    amphora: Container
    plan: Plan
    conf: Path

    def doctor(self, capsys: pytest.CaptureFixture[str]) -> Report:
        """Run the command on the controller."""
        amphora = self.plan.amphora
        target = f"{amphora.management_address}={amphora.id}"
        with self.plan.networks.namespace.entered():
            status = cli.main(
                [
                    *("doctor", "--octavia-conf", str(self.conf), "--json"),
                    *("--limit", _LIMIT_S, "--amphora", target),
                ]
            )
        return doctor_lab.report(status, capsys.readouterr().out)


@pytest.fixture(scope="module")
def place(plan: Plan, yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An amphora that answers, and Octavia's own health manager beside it."""
    directory = tmp_path_factory.mktemp("doctor")
    store = Store(directory=directory / "certs")
    doctor_lab.write_certificates(store, plan.pki)
    address = str(plan.networks.controller)
    document = doctor_lab.site_document(store.directory)
    document["controllers"] = [{"name": "one", "management_ip": address}]
    document["health"] = {"heartbeat_key": HEARTBEAT_KEY}
    site = msgspec.convert(document, Site, dec_hook=decode)
    text = octavia_conf.render(site, site.controllers[0], octavia_conf.stated_ids(site), "site")
    conf = directory / "octavia.conf"
    conf.write_text(doctor_lab.without_account(text))
    inside = plan.networks.namespace
    with (
        doctor_lab.health_manager(inside, address, HEARTBEAT_KEY),
        yard.boot(plan, tmp_path_factory.mktemp("amphora")) as booted,
    ):
        yield Place(amphora=booted, plan=plan, conf=conf)


def test_amphora_of_the_image_is_well(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing fails and nothing is unknown with the image as it is."""
    found = place.doctor(capsys)
    assert (found.hops("FAILED"), found.hops("unknown")) == ([], [])
    assert found.status == 0


def test_heartbeat_unit_that_was_stopped_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent tells that the unit beside it is silent, and doctor tells that alone."""
    place.amphora.run("systemctl stop amphora-heartbeat")
    try:
        failure = place.doctor(capsys).failure
    finally:
        place.amphora.run("systemctl start amphora-heartbeat")
    assert failure["hop"].endswith(" heartbeats")
    assert "none leaves it" in failure["seen"]


def test_agent_that_was_stopped_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the agent TCP fails, while heartbeats come all the same."""
    place.amphora.run("systemctl stop amphora-agent")
    try:
        failure = place.doctor(capsys).failure
    finally:
        place.amphora.run("systemctl start amphora-agent")
    assert failure["hop"].endswith(" TCP")
    assert "refuses connections" in failure["seen"]
