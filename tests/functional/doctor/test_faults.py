# SPDX-License-Identifier: Apache-2.0
"""Set-ups that are broken on purpose: each fault is named at its hop, and no other is blamed."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.conftest import Place
from tests.support import doctor_lab, need, pki
from tests.support.doctor_faults import (
    BROKEN,
    OTHER_API_PORT,
    THERE,
    A,
    dropped,
)
from tests.support.doctor_lab import NEIGHBOUR, Lab


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
