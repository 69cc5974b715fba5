# SPDX-License-Identifier: Apache-2.0
"""An amphora that lacks haproxy, keepalived, ipvsadm and its namespace still answers."""

import uuid
from collections.abc import Iterator

import pytest

from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.support.mutual_tls import Client

LB = str(uuid.UUID("aaaaaaaa-0000-4000-8000-000000000001"))
PROGRAMS = ("haproxy", "keepalived", "ipvsadm")


@pytest.fixture
def bare(fresh_place: Place) -> Iterator[Client]:
    """A controller of an agent on a machine without anything else."""
    process = fresh_place.start(bare=True)
    try:
        fresh_place.await_answer()
        yield fresh_place.client(fresh_place.pki.controller)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert "Traceback" not in fresh_place.log.read_text()


def test_info_and_details_never_fail(fresh_place: Place, bare: Client) -> None:
    """Without programs and namespace both are 200: versions are empty, the rest is there."""
    (fresh_place.base / LB).mkdir()
    (fresh_place.base / LB / "haproxy.cfg").write_bytes(
        listener_config(fresh_place.base, LB, vip="127.0.0.1", ports={})
    )
    for path in ("/1.0/info", "/1.0/details"):
        answer = bare.request("GET", path)
        assert answer.status == 200
        assert {answer.json()[f"{name}_version"] for name in PROGRAMS} == {""}
    details = bare.request("GET", "/1.0/details").json()
    assert (details["listeners"], details["haproxy_count"], details["networks"]) == ([LB], 0, {})
    assert details["memory"]["free"] > 0
    assert bare.request("GET", "/1.0/listeners").status == 200


def test_interface_without_the_namespace_is_not_found(bare: Client) -> None:
    """Nobody has an address in a namespace that is not there: 404, not 500."""
    answer = bare.request("GET", "/1.0/interface/192.0.2.77")
    assert answer.status == 404
    assert answer.json()["message"] == "Error interface not found for IP address"


def test_upload_without_haproxy_is_no_fault_of_the_configuration(
    fresh_place: Place, bare: Client
) -> None:
    """A check that cannot be made is 500 and names the program; nothing is stored unchecked."""
    path = f"/1.0/loadbalancer/{fresh_place.amphora_id}/{LB}/haproxy"
    config = listener_config(fresh_place.base, LB, vip="127.0.0.1", ports={})
    answer = bare.request("PUT", path, config)
    assert answer.status == 500
    assert "/usr/sbin/haproxy" in answer.body.decode()
    assert bare.request("GET", f"/1.0/loadbalancer/{LB}/haproxy").status == 404


def test_programs_are_there_otherwise(controller: Client) -> None:
    """The same place with its programs tells the version of haproxy."""
    assert controller.request("GET", "/1.0/info").json()["haproxy_version"]
