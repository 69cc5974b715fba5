# SPDX-License-Identifier: Apache-2.0
"""`amphoractl doctor` on a controller, with set-ups that are broken on purpose.

Each fault must be named at its hop, and no other hop be blamed. The cloud's side of it is in
tests/openstack/test_doctor.py.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Interface
from pathlib import Path

import pytest
import yaml

from amphora_agent.heartbeat import message
from amphora_controller import cli
from tests.functional.conftest import Place
from tests.support import doctor_lab, heartbeat_samples, need, pki
from tests.support.doctor_faults import (
    BROKEN,
    HERE,
    OTHER_API_PORT,
    STRANGE_KEY,
    THERE,
    A,
    dropped,
    keyed,
)
from tests.support.doctor_lab import BRIDGE, INTERFACE, KEY, NEIGHBOUR, OWN, PORT, Lab
from tests.support.octavia_api import CLOUD, new_id, octavia_api

_OWN_IPV6, _NEIGHBOUR_IPV6, _A_IPV6 = "2001:db8::1", "2001:db8::2", "2001:db8::10"


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


# Nothing is broken


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


# Something is


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_fault_is_named_at_its_hop_and_no_other_is_blamed(
    well: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """One hop fails, with what to do; no other fails or is unknown, and it takes ten seconds."""
    broken = BROKEN[name]
    with broken.make(well, tmp_path) as arguments:
        begun = time.monotonic()
        found = well.doctor(capsys, *arguments, amphora="" if arguments else A)
        took_s = time.monotonic() - begun
    assert found.failure["hop"] == broken.hop
    assert broken.words in found.failure["seen"]
    assert took_s < 10


@pytest.mark.slow
def test_two_faults_are_both_named(well: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong key is told although nothing answers at port 9443: it is no consequence of that."""
    with dropped(well, "tcp dport 9443"), well.sending(key="another-key"):
        found = well.doctor(capsys)
    assert found.hops("FAILED") == [f"{A} TCP", f"{A} heartbeats"]


@pytest.mark.slow
def test_each_amphora_is_looked_at_by_itself(well: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two amphorae the one that is not there fails, and every hop of the other is ok."""
    with well.sending():
        found = well.doctor(capsys, "--amphora", "203.0.113.77")
    assert found.failure["hop"] == "203.0.113.77 TCP"
    hops = [hop for hop in found.hops("ok") if hop.startswith(f"{A} ")]
    assert len(set(hops)) == 7


def test_expired_certificate_of_an_amphora_is_named(
    well: Lab, authorities: pki.Pki, capsys: pytest.CaptureFixture[str]
) -> None:
    """An amphora whose certificate nobody renewed is told from one of another authority."""
    place = well.place
    before = place.server_pem.read_bytes()
    place.server_pem.write_bytes(authorities.amphora_pem(place.amphora_id, since_days=31))
    try:
        with well.sending():
            failure = well.doctor(capsys).failure
    finally:
        place.server_pem.write_bytes(before)
    assert failure["hop"] == f"{A} amphora's certificate"
    assert "certificate has expired" in failure["seen"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("time", "words"), [("+1h", "s behind"), ("+40d", "valid by its own clock")]
)
def test_wrong_clock_is_blamed_and_no_certificate(well: Lab, time: str, words: str) -> None:
    """A clock that is wrong is named, even where every certificate of amphorae seems expired."""
    need.programs("faketime")
    with well.sending():
        found = doctor_lab.doctor_by(
            *(well.controller, well.conf, "--amphora", A), through=doctor_lab.wrong_clock(time)
        )
    failure = found.failure
    assert failure["hop"] == f"{A} clock"
    assert words in failure["seen"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OldAgent:
    """What one answers to everything, and what must be told of it."""

    answer: bytes
    words: str


@pytest.mark.slow
@pytest.mark.parametrize(
    "old",
    [
        OldAgent(
            answer=b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", words="status 404"
        ),
        OldAgent(
            answer=b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"api_version": "0.5"}',
            words="'0.5'",
        ),
    ],
)
def test_agent_that_is_too_old_is_named(
    well: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: OldAgent
) -> None:
    """What answers by mutual TLS and has no API 1.0 fails at the API."""
    well.configure(OTHER_API_PORT)
    place = well.place
    (tmp_path / "server.pem").write_bytes(place.pki.amphora_pem(place.amphora_id))
    with _old_agent(place, tmp_path / "server.pem", old.answer), well.sending():
        failure = well.doctor(capsys).failure
    assert failure["hop"] == f"{A} API"
    assert old.words in failure["seen"]


@contextmanager
def _old_agent(place: Place, pem: Path, answer: bytes) -> Iterator[None]:
    """A TLS server on port 9444 that gives one answer to everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with place.outer.entered():
        listener = socket.create_server((A, 9444))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as session:
                    session.recv(4096)
                    session.sendall(answer)

    listener.settimeout(0.2)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        listener.close()


@pytest.mark.slow
def test_amphora_of_another_image_shows_whom_it_sends_to(
    well: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where an amphora has no metrics, the address that it looks for in vain is told."""
    well.configure(OTHER_API_PORT)
    place = well.place
    (tmp_path / "server.pem").write_bytes(place.pki.amphora_pem(place.amphora_id))
    answer = b'{"api_version": "1.0", "haproxy_version": "2.8.16"}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)
    sending = well.sending(controllers="203.0.113.99:5555")
    with _old_agent(place, tmp_path / "server.pem", reply), sending:
        failure = well.doctor(capsys).failure
    assert failure["hop"] == f"{A} heartbeats"
    assert "looks in vain for 203.0.113.99" in failure["seen"]


@pytest.mark.slow
def test_silent_host_of_another_controller_is_unknown(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """A health manager behind a firewall that says nothing is not called dead."""
    with dropped(well, f"ip daddr {NEIGHBOUR.ip} meta l4proto udp"), well.sending():
        found = well.doctor(capsys)
    assert found.status == 2
    assert found.hops("unknown") == [f"health manager {THERE}"]
    assert found.hops("FAILED") == []


def test_without_rights_heartbeats_are_unknown(well: Lab) -> None:
    """Where no packet socket can be opened, that is told, and all the rest is found out."""
    need.programs("setpriv")
    with well.sending():
        found = doctor_lab.doctor_by(
            *(well.controller, well.conf, "--amphora", A),
            through=["setpriv", "--bounding-set", "-net_raw"],
        )
    assert found.status == 2
    assert found.hops("unknown") == [f"{A} heartbeats"]
    (row,) = [row for row in found.rows if row["outcome"] == "unknown"]
    assert "run this as root" in row["do"]


# Not the network


def test_keystone_that_does_not_answer_is_named(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listens at Keystone's address, the account fails, and nothing else does."""
    well.configure(account=_account(9))
    with well.sending():
        failure = well.doctor(capsys).failure
    assert failure["hop"] == "account"
    assert "Unable to establish connection" in failure["seen"]


@pytest.mark.slow
def test_keystone_that_hangs_is_told_as_that(well: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A cloud that takes connections and says nothing is unknown, once, and delays no other hop."""
    with well.controller.entered():
        listener = socket.create_server(("127.0.0.1", 0))
    well.configure(account=_account(listener.getsockname()[1]))
    begun = time.monotonic()
    with listener, well.sending():
        found = well.doctor(capsys, "--limit", "4")
    assert time.monotonic() - begun < 6
    assert found.status == 2
    assert found.hops("unknown") == ["account"]
    assert found.hops("FAILED") == []
    assert f"{A} heartbeats" in found.hops("ok")


def _account(port: int) -> str:
    return (
        f"auth_url = http://127.0.0.1:{port}\nusername = octavia\npassword = secret\n"
        "project_name = service\nuser_domain_name = Default\nproject_domain_name = Default\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[health_manager\n", "octavia.conf is no configuration file, see line 1"),
        ("[health_manager]\nbind_ip = here\n", "'here', not an address"),
        ("[health_manager]\nbind_port = many\n", "'many', not a number"),
    ],
)
def test_octavia_conf_that_octavia_refuses_is_named(
    well: Lab, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """A file that oslo.config refuses is the only thing that is told."""
    well.conf.write_text(text)
    found = well.doctor(capsys)
    assert [row["hop"] for row in found.rows] == ["octavia.conf"]
    assert words in found.failure["seen"]


def test_octavia_conf_is_compared_with_the_site(
    well: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not as the site says is named by its name, not by its value; equal files are ok."""
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(doctor_lab.site_document(well.files.directory)))
    site = ("--site", str(path), "--controller", "one")
    well.configure(account=None)
    with well.sending():
        assert "site" in well.doctor(capsys, *site).hops("ok")
        well.configure((f"heartbeat_key = {KEY}", "heartbeat_key = other"), account=None)
        (row,) = [row for row in well.doctor(capsys, *site).rows if row["hop"] == "site"]
    assert row["outcome"] == "FAILED"
    assert row["seen"] == "not as site.yaml says: [health_manager] heartbeat_key"


def test_lines_for_people_have_no_colours_in_a_file(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed to something that is no terminal, each hop is a plain line, advice one below it."""
    with well.controller.entered(), well.sending(key="another-key"):
        status = cli.main(["doctor", "--octavia-conf", str(well.conf), "--amphora", A])
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "ok      octavia.conf: everything that amphorae depend on is set"
    assert f"FAILED  {A} heartbeats: " in lines[-3]
    assert lines[-2].startswith("        do: ")
    assert lines[-1].startswith(f"failed: {A} heartbeats (")


@pytest.mark.slow
def test_amphorae_of_a_load_balancer_are_those_that_octavia_tells(
    well: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Octavia's API gives address and id; a load balancer that it does not know is refused."""
    lb_id, amphora_id = new_id(), str(well.place.amphora_id)
    with octavia_api(well.controller, tmp_path) as api, well.sending():
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(api.clouds_yaml))
        api.add_load_balancer(lb_id, vip="198.51.100.7")
        api.add_amphora(
            **{"id": amphora_id, "load_balancer_id": lb_id, "lb_network_ip": A},
            **{"ha_ip": "198.51.100.7", "role": "STANDALONE", "status": "ALLOCATED"},
        )
        found = well.doctor(capsys, "--of", lb_id, "--os-cloud", CLOUD, amphora="")
        with well.controller.entered():
            assert cli.main(["doctor", "--of", new_id(), "--os-cloud", CLOUD]) == 3
    assert found.hops("FAILED") == []
    (row,) = [row for row in found.rows if row["seen"] == f"it names {amphora_id}"]
    assert row["hop"] == f"{A} amphora's certificate"
    assert f"{A} heartbeats" in found.hops("ok")


@pytest.mark.parametrize("amphora", ["amphora-1", "203.0.113.999"])
def test_amphora_is_named_by_its_address(
    well: Lab, capsys: pytest.CaptureFixture[str], amphora: str
) -> None:
    """What is no address is refused with the place where the address stands."""
    assert cli.main(["doctor", "--octavia-conf", str(well.conf), "--amphora", amphora]) == 3
    assert "lb_network_ip" in capsys.readouterr().err
