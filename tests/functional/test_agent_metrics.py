# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics, from a running agent."""

import http.client
import uuid

import pytest
from prometheus_client.parser import text_string_to_metric_families

from amphora_agent import __version__
from amphora_agent.system.handshakes import Cause
from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.support import waiting
from tests.support.mutual_tls import Client, RefusedError

Samples = dict[tuple[str, ...], float]
LB_ID = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"


def scrape(controller: Client) -> dict[str, Samples]:
    """Values by the labels' values, sorted by the labels' names."""
    answer = controller.request("GET", "/2.0/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        family.name: {
            tuple(sample.labels[name] for name in sorted(sample.labels)): sample.value
            for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.body.decode())
    }


def test_requests_are_counted_by_route_method_and_status(controller: Client) -> None:
    """Two questions, an unknown path and a strange method are each one more of their kind."""
    before = scrape(controller)["amphora_requests"]
    controller.request("GET", "/1.0/info")
    controller.request("GET", "/1.0/info")
    controller.request("GET", f"/1.0/loadbalancer/{LB_ID}/haproxy")
    controller.request("GET", f"/nowhere/{uuid.uuid4()}")
    controller.request("BREW", "/1.0/info")
    after = scrape(controller)["amphora_requests"]

    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    assert {key: value for key, value in grown.items() if value} == {
        ("GET", "/1.0/info", "200"): 2,
        ("GET", "/1.0/loadbalancer/<uuid:owner_id>/haproxy", "404"): 1,
        ("GET", "", "404"): 1,
        ("other", "", "405"): 1,
        ("GET", "/2.0/metrics", "200"): 1,
    }


def test_handshake_failures_are_counted_by_cause(agent: Place, controller: Client) -> None:
    """A stranger and a client without a certificate are counted, each under its cause."""
    before = scrape(controller)["amphora_handshake_failures"]
    assert set(before) == {(cause,) for cause in Cause}
    for identity in (agent.pki.stranger, None):
        with pytest.raises((RefusedError, OSError, http.client.HTTPException)):
            agent.client(identity).request("GET", "/")
    after = scrape(controller)["amphora_handshake_failures"]

    grown = {key: value - before[key] for key, value in after.items() if value != before[key]}
    assert grown == {(Cause.UNKNOWN_CA,): 1, (Cause.NO_CERTIFICATE,): 1}


def test_applies_are_counted_by_kind(agent: Place, controller: Client) -> None:
    """A start, a reload for nothing and one for another weight are each one of their kind."""

    def bring(config: bytes) -> None:
        paths = (f"{agent.amphora_id}/{LB_ID}/haproxy", f"{LB_ID}/reload")
        for path, body in zip(paths, (config, b""), strict=True):
            answer = controller.request("PUT", f"/1.0/loadbalancer/{path}", body)
            assert answer.status == 202, answer.body

    config = listener_config(agent.base, LB_ID, vip="127.0.0.1", ports={"one": 8081})
    bring(config)
    bring(config)
    bring(config.replace(b"weight 1", b"weight 2"))
    assert scrape(controller)["amphora_applies"] == {
        ("started",): 1,
        ("nothing",): 1,
        ("commands",): 1,
    }
    assert controller.request("DELETE", f"/1.0/listeners/{LB_ID}").status == 200


def test_certificates_have_days_left(agent: Place, controller: Client) -> None:
    """The server's certificate has its 30 days, a load balancer's the days of its own."""
    pem = agent.pki.amphora_pem(uuid.uuid4(), since_days=25)
    name = f"{'a' * 40}.pem"
    path = f"/1.0/loadbalancer/{LB_ID}/certificates/{name}"
    assert controller.request("PUT", path, body=pem).status == 200
    try:
        days = scrape(controller)["amphora_certificate_days_left"]
    finally:
        controller.request("DELETE", path)

    assert 29 < days.pop(("server.pem", "server", "")) <= 30
    assert 4 < days.pop((name, "load balancer", LB_ID)) <= 5
    assert list(days) == [(agent.pki.client_chain.name, "client CA", "")]
    assert (name, "load balancer", LB_ID) not in scrape(controller)["amphora_certificate_days_left"]


def test_build_is_told(controller: Client) -> None:
    """The version of the agent and of haproxy are those that it tells elsewhere."""
    [(haproxy, _keepalived, version)] = scrape(controller)["amphora_build_info"]

    assert version == __version__
    assert controller.request("GET", "/1.0/info").json()["haproxy_version"] == haproxy


def test_end_of_a_certificate_is_told_at_the_start(fresh_place: Place) -> None:
    """An agent that starts with a certificate of five days says so in its log at once."""
    fresh_place.server_pem.write_bytes(
        fresh_place.pki.amphora_pem(fresh_place.amphora_id, since_days=25)
    )
    process = fresh_place.start()
    try:
        fresh_place.await_answer()
        waiting.until(
            "the warning",
            lambda: (
                f"{fresh_place.server_pem} ends in 4 days" in fresh_place.log.read_text() or None
            ),
            deadline_s=20,
            every_s=0.1,
        )
    finally:
        process.terminate()
        process.wait(timeout=20)
