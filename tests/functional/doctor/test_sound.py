# SPDX-License-Identifier: Apache-2.0
"""Set-ups in which nothing is broken: no hop is blamed, over IPv4 and over IPv6."""

import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv6Interface
from pathlib import Path

import pytest

from amphora_agent.heartbeat import message
from tests.support import doctor_lab, heartbeat_samples
from tests.support.doctor_faults import (
    HERE,
    STRANGE_KEY,
    THERE,
    A,
    dropped,
    keyed,
)
from tests.support.doctor_lab import BRIDGE, INTERFACE, KEY, OWN, PORT, Lab

_OWN_IPV6, _NEIGHBOUR_IPV6, _A_IPV6 = "2001:db8::1", "2001:db8::2", "2001:db8::10"


def test_sound_set_up_is_all_well_in_time(well: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Every hop is ok but those of the cloud, which the lab has none of, within ten seconds."""
    begun = time.monotonic()
    with well.sending():
        found = well.doctor(capsys, amphora=f"{A}={well.place.amphora_id}")
        assert time.monotonic() - begun < 10
        assert doctor_lab.await_heartbeat(well.manager) == str(well.place.amphora_id)
    assert found.status == 0
    assert found.hops("skipped") == [
        *("account", "clock", "flavor", "image", "keypair", "networks", "port"),
        "security groups",
    ]
    assert set(found.hops("ok")) == {
        *("octavia.conf", "certificates", "controllers", "interface"),
        *(f"health manager {HERE}", f"health manager {THERE}"),
        *(f"{A} route", f"{A} TCP", f"{A} clock", f"{A} API"),
        *(f"{A} amphora's certificate", f"{A} controller's certificate", f"{A} heartbeats"),
    }


def test_heartbeats_are_enough_without_an_amphora(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no amphora is named, those that send heartbeats are told."""
    with well.sending():
        found = well.doctor(capsys, amphora="")
    (row,) = [row for row in found.rows if row["hop"] == "heartbeats"]
    assert row["outcome"] == "ok"
    assert row["seen"].startswith(f"{A}: ")
    assert found.status == 0


def test_key_that_no_template_may_change_is_taken_as_it_is(
    well: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Characters that HTML escapes are no fault where the amphora has the key as it is."""
    with keyed(STRANGE_KEY)(well, tmp_path):
        assert well.doctor(capsys).status == 0


def test_heartbeats_to_another_controller_are_none_to_this_one(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the network floods, what passes here on its way to another controller is no fault."""
    ageing = ("link", "set", BRIDGE, "type", "bridge", "ageing_time")
    well.network.ip(*ageing, "0")
    try:
        with well.sending(controllers=f"{THERE}, {HERE}"):
            found = well.doctor(capsys)
    finally:
        well.network.ip(*ageing, "30000")
    assert found.status == 0, found.rows


@pytest.fixture
def over_ipv6(well: Lab) -> Iterator[Lab]:
    """The lab with a health manager on each controller's IPv6 address, as octavia.conf says."""
    given = (
        (well.controller, INTERFACE, _OWN_IPV6),
        (well.neighbour, INTERFACE, _NEIGHBOUR_IPV6),
        (well.place.outer, "mgmt0", _A_IPV6),
    )
    for inside, name, address in given:
        inside.add_address(name, IPv6Interface(f"{address}/64"))
    well.configure(
        (f"bind_ip = {OWN.ip}", f"bind_ip = {_OWN_IPV6}"),
        (HERE, f"[{_OWN_IPV6}]:{PORT}"),
        (THERE, f"[{_NEIGHBOUR_IPV6}]:{PORT}"),
    )
    with well.neighbour.entered():
        neighbour = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        neighbour.bind((_NEIGHBOUR_IPV6, PORT))
    with neighbour, doctor_lab.health_manager(well.controller, _OWN_IPV6):
        yield well
    for inside, name, address in given:
        inside.ip("address", "del", f"{address}/64", "dev", name)


def test_management_network_may_be_ipv6(over_ipv6: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Every hop is ok over IPv6 too; a controller that nobody listens at is named there as well."""
    with over_ipv6.sending(controllers=f"[{_OWN_IPV6}]:{PORT}"):
        assert over_ipv6.doctor(capsys, amphora=_A_IPV6).status == 0
        text = over_ipv6.conf.read_text()
        over_ipv6.conf.write_text(text.replace(f"[{_NEIGHBOUR_IPV6}]:{PORT}", "[2001:db8::2]:5556"))
        failure = over_ipv6.doctor(capsys, amphora=_A_IPV6).failure
    assert failure["hop"] == "health manager [2001:db8::2]:5556"
    assert "the port is closed" in failure["seen"]


@pytest.mark.slow
def test_lost_fragments_of_ipv6_are_told(
    over_ipv6: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over IPv6 the rest of a heartbeat that gets lost is told as over IPv4."""
    large = heartbeat_samples.large_message(listeners=1, pools=1, members=80)
    datagram = message.encode(large, key=KEY)
    with over_ipv6.place.outer.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    timer = threading.Timer(2, sender.sendto, (datagram, (_OWN_IPV6, PORT)))
    with sender, dropped(over_ipv6, "frag frag-off != 0"):
        timer.start()
        try:
            failure = over_ipv6.doctor(capsys, amphora=_A_IPV6).failure
        finally:
            timer.join()
    assert failure["hop"] == f"{_A_IPV6} heartbeats"
    assert "1 came in part" in failure["seen"]
