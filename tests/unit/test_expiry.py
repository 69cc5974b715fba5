# SPDX-License-Identifier: Apache-2.0
"""Certificates are told of before they end."""

import datetime
import logging
import uuid
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import pytest

from amphora_agent.operations import expiry
from amphora_agent.operations.expiry import Kind, Watch
from amphora_agent.settings import Settings
from tests.support import pki

LB_ID = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.create(tmp_path_factory.mktemp("pki"))


@dataclass
class Place:
    """An amphora's certificates, and the time."""

    settings: Settings
    authorities: pki.Pki
    now: datetime.datetime

    def serve(self, path: Path) -> None:
        """Write a new certificate of 30 days."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.authorities.amphora_pem(uuid.uuid4()))

    @property
    def of_load_balancer(self) -> Path:
        return self.settings.base_cert_dir / LB_ID / f"{'a' * 40}.pem"


@pytest.fixture
def place(authorities: pki.Pki, tmp_path: Path) -> Place:
    settings = Settings(
        amphora_id=str(uuid.uuid4()),
        base_cert_dir=tmp_path / "certs",
        agent_server_cert=tmp_path / "server.pem",
        agent_server_ca=authorities.client_chain,
    )
    # After the moment at which the certificates of the test become valid, whenever that is in it.
    now = datetime.datetime.now(UTC) + datetime.timedelta(minutes=10)
    made = Place(settings, authorities, now)
    made.serve(settings.agent_server_cert)
    return made


def days(place: Place) -> dict[Kind, float]:
    found = expiry.expiries(place.settings)
    return {item.kind: item.days_left(place.now) or -1 for item in found}


def test_every_certificate_is_found(place: Place) -> None:
    """The API's own, the CA's and those of load balancers are found, and lists of them are not."""
    place.serve(place.of_load_balancer)
    certs = place.settings.base_cert_dir
    (certs / LB_ID / f"{uuid.uuid4()}.pem").write_text(f"{place.of_load_balancer} example.org\n")
    place.serve(certs / "not-a-load-balancer" / "x.pem")

    found = expiry.expiries(place.settings)

    assert [(item.kind, item.lb_id) for item in found] == [
        (Kind.SERVER, ""),
        (Kind.CLIENT_CA, ""),
        (Kind.LOAD_BALANCER, LB_ID),
    ]
    left = days(place)
    assert 29 < left[Kind.SERVER] <= 30
    # The intermediate ends before the root.
    assert 3640 < left[Kind.CLIENT_CA] <= 3650


def test_unreadable_certificate_is_found_with_its_problem(place: Place) -> None:
    """A missing or damaged file does not hide the others."""
    place.settings.agent_server_cert.unlink()
    place.serve(place.of_load_balancer)
    place.of_load_balancer.write_bytes(place.of_load_balancer.read_bytes()[:500])

    server, ca, other = expiry.expiries(place.settings)

    assert (server.not_after, server.problem) == (None, "No such file or directory")
    assert ca.not_after is not None
    assert (other.not_after, other.problem) == (None, "a certificate in it is not in PEM")


def test_log_tells_each_span_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Looked at every hour for 31 days, a certificate is told of at 21, 14 and 7 days and at 0."""
    caplog.set_level(logging.INFO)
    began = place.now
    watch = Watch(lambda: place.now)
    told: list[tuple[int, int]] = []
    for hour in range(31 * 24):
        place.now = began + datetime.timedelta(hours=hour)
        watch.look(place.settings)
        told += [(hour // 24, record.levelno) for record in caplog.records]
        caplog.clear()

    info, warning, error = logging.INFO, logging.WARNING, logging.ERROR
    assert told == [(9, info), (16, warning), (23, warning), (30, error)]


def test_new_certificate_ends_the_warnings(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A renewed certificate is not told of, and is later told of on its own account."""
    path = place.settings.agent_server_cert
    path.write_bytes(place.authorities.amphora_pem(uuid.uuid4(), since_days=20))
    watch = Watch(lambda: place.now)
    watch.look(place.settings)
    assert "server certificate" in caplog.text
    assert str(path) in caplog.text
    assert "housekeeping" in caplog.text
    caplog.clear()

    place.serve(path)
    watch.look(place.settings)
    assert caplog.text == ""

    path.write_bytes(place.authorities.amphora_pem(uuid.uuid4(), since_days=19))
    watch.look(place.settings)
    assert "ends in 10 days, on " in caplog.text


def test_agent_that_starts_late_tells_the_last_span_only(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start with five days left there is one message, not one for each limit passed."""
    place.serve(place.of_load_balancer)
    place.now += datetime.timedelta(days=25)
    watch = Watch(lambda: place.now)

    watch.look(place.settings)
    watch.look(place.settings)

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert f"The load balancer certificate {place.of_load_balancer} ends in 4 days" in caplog.text
