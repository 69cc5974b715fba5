# SPDX-License-Identifier: Apache-2.0
"""`amphoractl amphora` against the real agent, and against set-ups that are broken on purpose."""

import datetime
import json
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amphora_controller import cli
from amphora_controller.amphora.client import Amphora, Failed, Hop
from amphora_controller.amphora.probe import Result, probe
from tests.functional.conftest import Place
from tests.support.pki import Pki

_TIMEOUT_S = 0.5
# In the namespace of the agent, on a link whose other end answers no ARP.
_SILENT = "203.0.113.77"


def amphora(place: Place, **changes: object) -> Amphora:
    """The agent's amphora, as a controller would ask it."""
    fields: dict[str, object] = {
        "address": "127.0.0.1",
        "trust": place.pki.server_chain,
        "identity": place.pki.controller,
        "timeout_s": 5.0,
    }
    return Amphora(**{**fields, **changes})  # type: ignore[arg-type]


def probed(
    place: Place, asked: Amphora, *, amphora_id: str | None = None, ahead_s: float = 0
) -> list[Result]:
    """All results of a probe from beside the agent.

    Args:
        ahead_s: how much the prober's clock is ahead.
    """
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead_s)
    with place.outer.entered():
        return list(probe(asked, amphora_id=amphora_id, now=now))


def failure(results: list[Result]) -> Result:
    """The one hop that failed."""
    [failed] = [result for result in results if not result.well]
    assert failed.hint
    return failed


def test_probe_of_a_sound_amphora_finds_no_fault(agent: Place) -> None:
    """Every hop is well, up to the version of haproxy."""
    results = probed(agent, amphora(agent), amphora_id=str(agent.amphora_id))
    assert all(result.well for result in results), results
    assert results[-1].message.startswith("haproxy 2.")
    assert [result.hop for result in results].count(Hop.SERVER_CERTIFICATE) == 2


def _without_files(place: Place, directory: Path) -> Amphora:
    return amphora(place, trust=directory / "absent.pem")


def _empty_identity(place: Place, directory: Path) -> Amphora:
    (directory / "empty.pem").write_bytes(b"")
    return amphora(place, identity=directory / "empty.pem")


def _nobody_listens(place: Place, _: Path) -> Amphora:
    return amphora(place, port=9444)


def _no_route(place: Place, _: Path) -> Amphora:
    return amphora(place, address="198.18.0.1")


def _other_server_ca(place: Place, _: Path) -> Amphora:
    return amphora(place, trust=place.pki.client_chain)


def _stranger(place: Place, _: Path) -> Amphora:
    return amphora(place, identity=place.pki.stranger)


def _expired_controller(place: Place, directory: Path) -> Amphora:
    return amphora(place, identity=place.pki.expired_controller(directory))


@pytest.mark.parametrize(
    ("broken", "hop", "words"),
    [
        (_without_files, Hop.FILES, "absent.pem"),
        (_empty_identity, Hop.FILES, "empty.pem"),
        (_nobody_listens, Hop.TCP, "refuses connections"),
        (_no_route, Hop.ROUTE, "no way to 198.18.0.1"),
        (_other_server_ca, Hop.SERVER_CERTIFICATE, "amphora's certificate is refused"),
        (_stranger, Hop.CLIENT_CERTIFICATE, "does not know the authority"),
        (_expired_controller, Hop.CLIENT_CERTIFICATE, "controllers' certificate has expired"),
    ],
)
def test_probe_names_the_hop_that_fails(
    agent: Place,
    tmp_path: Path,
    broken: Callable[[Place, Path], Amphora],
    hop: Hop,
    words: str,
) -> None:
    """Each broken set-up is told apart from the others."""
    failed = failure(probed(agent, broken(agent, tmp_path)))
    assert failed.hop == hop
    assert words in failed.message


def test_probe_names_the_amphora_that_answers_instead(agent: Place) -> None:
    """An address that went to another amphora shows, and so does the other amphora."""
    other = str(uuid.uuid4())
    failed = failure(probed(agent, amphora(agent), amphora_id=other))
    assert failed.message == f"it names {agent.amphora_id}, not {other}"


@pytest.mark.parametrize(("ahead_s", "words"), [(3600, "s behind"), (-3600, "s ahead")])
def test_probe_tells_of_a_wrong_clock(agent: Place, ahead_s: float, words: str) -> None:
    """An hour of difference is told, within a few seconds, with its direction."""
    failed = failure(probed(agent, amphora(agent), ahead_s=ahead_s))
    assert failed.message.endswith(words)
    assert abs(int(failed.message.split()[2]) - 3600) <= 5


def test_probe_tells_of_a_certificate_that_nobody_renewed(agent: Place) -> None:
    """Less than the fourteen days at which housekeeping renews, a certificate is told of."""
    results = probed(agent, amphora(agent), ahead_s=20 * 86400)
    assert any("was not renewed" in result.message for result in results)


def test_probe_tells_of_packets_that_get_lost(agent: Place) -> None:
    """An address that nothing answers for is a time-out, and no refusal."""
    agent.outer.ip("address", "add", "203.0.113.1/24", "dev", "nic0")
    agent.outer.ip("link", "set", "nic0", "up")
    try:
        failed = failure(probed(agent, amphora(agent, address=_SILENT, timeout_s=_TIMEOUT_S)))
    finally:
        agent.outer.ip("address", "del", "203.0.113.1/24", "dev", "nic0")
    assert failed.hop == Hop.TCP
    assert "no answer from" in failed.message


# Servers that are no amphora


@contextmanager
def server(place: Place, talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that takes one connection in the agent's namespace; gives its port."""
    with place.outer.entered():
        listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join()
        listener.close()


def _speaks_http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _says_nothing(connection: socket.socket) -> None:
    connection.recv(4096)
    while connection.recv(4096):
        pass


@pytest.mark.parametrize(
    ("talk", "words"),
    [(_speaks_http, "does not speak TLS"), (_says_nothing, "did not end in time")],
)
def test_probe_tells_of_something_else_on_the_port(
    agent: Place, talk: Callable[[socket.socket], None], words: str
) -> None:
    """Plain HTTP and silence are told apart from bad certificates."""
    with server(agent, talk) as port:
        failed = failure(probed(agent, amphora(agent, port=port, timeout_s=_TIMEOUT_S)))
    assert failed.hop == Hop.SERVER_CERTIFICATE
    assert words in failed.message


def _tls_server(directory: Path, pem: bytes, answer: bytes) -> Callable[[socket.socket], None]:
    """Talks TLS with a certificate and gives one answer."""
    path = directory / "server.pem"
    path.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def talk(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as session:
                session.recv(4096)
                session.sendall(answer)
        except OSError:
            pass  # the prober turned away, which is what the test looks at

    return talk


@pytest.mark.parametrize(
    ("since_days", "words"), [(31, "certificate has expired"), (-1, "is not yet valid")]
)
def test_probe_tells_expired_from_not_yet_valid(
    agent: Place, authorities: Pki, tmp_path: Path, since_days: int, words: str
) -> None:
    """The amphora's certificate is refused for the reason that it is bad for."""
    pem = authorities.amphora_pem(agent.amphora_id, since_days=since_days)
    with server(agent, _tls_server(tmp_path, pem, b"")) as port:
        failed = failure(probed(agent, amphora(agent, port=port)))
    assert failed.hop == Hop.SERVER_CERTIFICATE
    assert words in failed.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<p/>", "not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "cannot be read"),
        (b"\x00\x01\x02\r\n\r\n", "cannot be read"),
    ],
)
def test_probe_tells_of_answers_that_are_none(
    agent: Place, authorities: Pki, tmp_path: Path, answer: bytes, words: str
) -> None:
    """What answers over TLS and is no amphora's agent is not taken for one."""
    pem = authorities.amphora_pem(agent.amphora_id)
    asked: list[Result] = []
    with server(agent, _tls_server(tmp_path, pem, answer)) as port:
        asked = probed(agent, amphora(agent, port=port))
    bad = [result for result in asked if not result.well]
    assert bad[0].hop == Hop.HTTP
    assert words in bad[0].message


# The command


@pytest.fixture
def directory(agent: Place, tmp_path: Path) -> Path:
    """The files of a controller, under their names."""
    (tmp_path / "server_ca-chain.cert.pem").write_bytes(agent.pki.server_chain.read_bytes())
    (tmp_path / "client.cert-and-key.pem").write_bytes(agent.pki.controller.read_bytes())
    return tmp_path


def command(place: Place, *arguments: str) -> int:
    """Run amphoractl beside the agent; its exit status."""
    with place.outer.entered():
        return cli.main(["amphora", *arguments])


def test_command_shows_what_the_amphora_says(
    agent: Place, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Info and details come as JSON."""
    for name, key in (("info", "haproxy_version"), ("details", "memory")):
        assert command(agent, name, "127.0.0.1", "-d", str(directory)) == 0
        assert key in json.loads(capsys.readouterr().out)


def test_command_exits_by_what_it_found(
    agent: Place, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 when all is well, 2 when a hop fails, and JSON for programs."""
    sound = ("probe", "127.0.0.1", "-d", str(directory))
    assert command(agent, *sound, "--id", str(agent.amphora_id)) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert command(agent, *sound, "--port", "9444", "--json") == 2
    [row] = json.loads(capsys.readouterr().out)
    assert row["hop"] == "tcp"
    assert not row["well"]


def test_command_that_gets_no_answer_says_why(
    agent: Place, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request to nobody ends with 3 and the next step."""
    assert command(agent, "info", "127.0.0.1", "--port", "9444", "-d", str(directory)) == 3
    assert "refuses connections" in capsys.readouterr().err


def test_tls_1_3_verdict_comes_with_the_answer(agent: Place) -> None:
    """A session may stand although the amphora refuses its client; the request says so."""
    with agent.outer.entered(), pytest.raises(Failed) as caught:
        amphora(agent, identity=agent.pki.stranger).request("GET", "/")
    assert caught.value.hop == Hop.CLIENT_CERTIFICATE
