# SPDX-License-Identifier: Apache-2.0
"""Every step of a change fails once; each time all is as it was, and serves.

The load balancer has everything that a transaction covers: haproxy with a certificate, a UDP
listener, VRRP of a pair, and the firewall of an SR-IOV NIC.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from amphora_agent import settings
from amphora_agent.api import create_app
from amphora_agent.operations.context import Context
from amphora_agent.wiring import build_context
from tests.functional import whole_amphora
from tests.functional.conftest import LOOPBACK, Place
from tests.functional.test_api_2 import snapshot
from tests.functional.whole_amphora import UDP, UNITS
from tests.support import need
from tests.support.documents import LB_ID, Document
from tests.support.faults import Fault, faulty
from tests.support.http_member import http_member
from tests.support.services import ProcessServices
from tests.support.small_host import small

pytestmark = [pytest.mark.slow, pytest.mark.netns]

PATH = f"/2.0/loadbalancers/{LB_ID}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Amphora:
    """One of a pair, with an SR-IOV NIC, as a controller has plugged it."""

    place: Place
    context: Context
    pems: tuple[str, str]

    def client(self, fault: Fault | None = None) -> FlaskClient:
        """The API, with a fault in what is below it."""
        context = self.context if fault is None else faulty(self.context, fault)
        return create_app(context).test_client()

    def document(self, number: int) -> Document:
        """One of two that differ in every file."""
        return whole_amphora.document(self.place, number, self.pems[number])

    def rules(self) -> str:
        """What nftables has in force."""
        return whole_amphora.rules(self.place.inner)

    def running(self) -> dict[str, bool]:
        """Which units run."""
        return {unit: self.context.services.is_active(unit) for unit in UNITS}

    def served(self) -> tuple[str, bytes]:
        """Who answers at the VIP, and with which certificate."""
        return whole_amphora.served(self.place.inner)


@pytest.fixture(scope="module")
def amphora(place: Place) -> Iterator[Amphora]:
    """The amphora, with nothing on it but its NIC."""
    need.programs("keepalived", "nft")
    whole_amphora.prepare(place)
    loaded = settings.load(place.config_file)
    services = ProcessServices(loaded.layout, place.inner.name, loaded.haproxy_cmd)
    context = build_context(
        loaded, services=services, netns=place.inner.name, config_file=place.config_file
    )
    context = small(context)
    pems = tuple(place.pki.amphora_pem(place.amphora_id).decode() for _ in range(2))
    made = Amphora(place=place, context=context, pems=(pems[0], pems[1]))
    with ExitStack() as stack:
        stack.enter_context(place.outer.entered())
        stack.enter_context(http_member(place.inner, "one", LOOPBACK, 8081))
        stack.enter_context(http_member(place.inner, "two", LOOPBACK, 8082))
        answer = made.client().post(whole_amphora.PLUG_PATH, json=whole_amphora.PLUG)
        assert answer.status_code == 202, answer.data
        yield made
        for unit in UNITS:
            services.stop(unit)


def put(client: FlaskClient, document: Document) -> TestResponse:
    """Send a document."""
    return client.put(PATH, json=document)


def assert_all_as_before(amphora: Amphora, change: str, late: bool) -> None:
    """Fail every step of one kind of change, one after the other."""
    client = amphora.client()
    base = amphora.place.base
    new = None if change == "delete" else amphora.document(1)
    # How often a step may be done by a change depends on what it finds: the fault says whether it
    # was reached.
    if change == "create":
        assert client.delete(PATH).status_code == 204
    else:
        assert put(client, amphora.document(0)).status_code < 300
    files, running, rules = snapshot(base), amphora.running(), amphora.rules()
    served = None if change == "create" else amphora.served()
    failures = 0
    for number in range(1, 1000):
        fault = Fault(at=number, late=late)
        bad = amphora.client(fault)
        answer = bad.delete(PATH) if new is None else put(bad, new)
        if not fault.struck:
            break
        step = f"step {number}, {fault.steps[number - 1]}, late: {late}"
        if answer.status_code < 300:
            # What comes after the change, or only tells the neighbours, may fail.
            assert client.get(PATH).status_code == (404 if new is None else 200), step
            if change == "create":
                assert client.delete(PATH).status_code == 204
            else:
                assert put(client, amphora.document(0)).status_code < 300, step
            files, rules = snapshot(base), amphora.rules()
            continue
        failures += 1
        told = json.loads(answer.data)
        assert answer.content_type == "application/problem+json", step
        assert told["code"] in {
            "apply_failed",
            "configuration_refused",
            "system_error",
            "failed",
        }, (
            step,
            told,
        )
        assert snapshot(base) == files, step
        assert amphora.running() == running, step
        assert amphora.rules() == rules, step
        if served is not None:
            assert amphora.served() == served, step
        assert not (base / "transactions" / LB_ID).exists() or not list(
            (base / "transactions" / LB_ID).iterdir()
        ), step
    assert failures > (10 if late else 20)
    # Without a fault the same change goes through.
    assert answer.status_code < 300


@pytest.mark.parametrize("late", [False, True], ids=["not-done", "done"])
@pytest.mark.parametrize("change", ["change", "create", "delete"])
def test_api_2_fault_at_every_step_leaves_all_as_before(
    amphora: Amphora, change: str, *, late: bool
) -> None:
    """Whichever step of a change fails, files, services and firewall are those before."""
    assert_all_as_before(amphora, change, late)


def test_api_2_change_covers_everything(amphora: Amphora) -> None:
    """The two documents differ in haproxy, certificate, UDP listener, VRRP and firewall."""
    client = amphora.client()
    assert put(client, amphora.document(0)).status_code < 300
    first, rules, served = snapshot(amphora.place.base), amphora.rules(), amphora.served()
    answer = put(client, amphora.document(1))
    assert answer.status_code == 200, answer.data
    second = snapshot(amphora.place.base)
    changed = {Path(name).name for name in {*first, *second} if first.get(name) != second.get(name)}
    assert {
        *("haproxy.cfg", "front.pem", f"octavia-keepalivedlvs-{UDP}.conf"),
        *("octavia-keepalived.conf", "nftables-vip.rules"),
    } <= changed
    assert amphora.rules() != rules
    assert amphora.served()[0] == "two"
    assert served[0] == "one"
    assert served[1] != amphora.served()[1]
    assert set(amphora.running().values()) == {True}
    assert client.delete(PATH).status_code == 204
    assert set(amphora.running().values()) == {False}
