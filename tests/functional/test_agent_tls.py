# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS, and the wait for the files that Octavia injects."""

import contextlib
import ssl
import stat
from collections.abc import Callable, Iterator

import pytest

from tests.functional.conftest import Place
from tests.support import pki, waiting
from tests.support.mutual_tls import Client, RefusedError


def test_tls_controller_is_answered(controller: Client) -> None:
    """A client with a certificate of the client CA gets the API version."""
    assert controller.get("/") == (200, '{"api_version":"1.0"}')


def test_tls_no_client_certificate_is_refused(agent: Place) -> None:
    """A client without a certificate gets no answer."""
    with pytest.raises(RefusedError):
        agent.client(None).get("/")


def test_tls_certificate_of_another_ca_is_refused(agent: Place) -> None:
    """A client with a certificate of a CA that the amphora does not know gets no answer."""
    with pytest.raises(RefusedError):
        agent.client(agent.pki.stranger).get("/")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions_of_controllers_are_spoken(agent: Place, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 both work."""
    client = agent.client(agent.pki.controller)
    assert client.request("GET", "/", tls=version).status == 200


def test_tls_new_server_certificate_serves_the_next_handshake(agent: Place) -> None:
    """A replaced server.pem is used without a restart, a broken one is not."""
    client = agent.client(agent.pki.controller)
    first = agent.server_pem.read_bytes()
    before = client.request("GET", "/").certificate
    renewed = agent.server_pem.with_name("new.pem")
    renewed.write_bytes(agent.pki.amphora_pem(agent.amphora_id))
    renewed.replace(agent.server_pem)
    after = client.request("GET", "/").certificate
    assert after != before
    agent.server_pem.write_bytes(b"not a certificate")
    assert client.request("GET", "/").certificate == after
    agent.server_pem.write_bytes(first)
    assert client.request("GET", "/").certificate == before


def test_tls_1_1_is_refused(fresh_place: Place) -> None:
    """A client that speaks no more than TLS 1.1 is refused for that, and one with 1.2 is not."""
    with running(fresh_place):
        client = fresh_place.client(fresh_place.pki.controller)
        with pytest.raises(RefusedError):
            client.request("GET", "/", tls=ssl.TLSVersion.TLSv1_1)
        _await_line(fresh_place, "TLS handshakes failed, unsupported TLS version: 1, last with")
        assert client.request("GET", "/", tls=ssl.TLSVersion.TLSv1_2).status == 200


@pytest.mark.parametrize(
    ("setting", "refused"), [("TLSv1.3", True), ("TLSv1.2", False), ("SSLv3", False)]
)
def test_tls_minimum_is_the_configured_one(
    fresh_place: Place, setting: str, *, refused: bool
) -> None:
    """agent_tls_protocol = TLSv1.3 refuses TLS 1.2; every lower value lets it in."""
    with fresh_place.config_file.open("a") as config:
        config.write(f"agent_tls_protocol = {setting}\n")
    with running(fresh_place):
        client = fresh_place.client(fresh_place.pki.controller)
        assert client.request("GET", "/", tls=ssl.TLSVersion.TLSv1_3).status == 200
        if refused:
            with pytest.raises(RefusedError):
                client.request("GET", "/", tls=ssl.TLSVersion.TLSv1_2)
        else:
            assert client.request("GET", "/", tls=ssl.TLSVersion.TLSv1_2).status == 200


def test_tls_client_ca_is_rolled_without_a_moment_of_refusal(fresh_place: Place) -> None:
    """With both CAs in the file both controllers are let in, with one only its own; no restart."""
    (fresh_place.directory / "new").mkdir()
    # The same names of CAs, as when the same script has made them again.
    new_pki = pki.create(fresh_place.directory / "new")
    old_ca = fresh_place.pki.client_chain.read_bytes()
    new_ca = new_pki.client_chain.read_bytes()
    ca_file = fresh_place.directory / "client_ca.pem"
    ca_file.write_bytes(old_ca)
    fresh_place.config_file.write_text(
        fresh_place.config_file.read_text().replace(str(fresh_place.pki.client_chain), str(ca_file))
    )
    old = fresh_place.client(fresh_place.pki.controller)
    new = fresh_place.client(new_pki.controller)

    def let_in(client: Client) -> bool:
        try:
            return client.request("GET", "/").status == 200
        except RefusedError:
            return False

    with running(fresh_place):
        assert (let_in(old), let_in(new)) == (True, False)
        ca_file.write_bytes(old_ca + new_ca)
        assert (let_in(old), let_in(new)) == (True, True)
        ca_file.write_bytes(new_ca + old_ca)
        assert (let_in(old), let_in(new)) == (True, True)
        ca_file.write_bytes(new_ca)
        assert (let_in(old), let_in(new)) == (False, True)


def test_tls_new_server_certificate_lets_a_response_in_flight_complete(agent: Place) -> None:
    """A request that began before server.pem was replaced is answered on its old session."""
    client = agent.client(agent.pki.controller)
    first = agent.server_pem.read_bytes()
    with contextlib.closing(client.session()) as session:
        before = session.getpeercert(binary_form=True)
        session.sendall(b"GET /1.0/info HT")
        renewed = agent.server_pem.with_name("new.pem")
        renewed.write_bytes(agent.pki.amphora_pem(agent.amphora_id))
        renewed.replace(agent.server_pem)
        assert client.request("GET", "/").certificate != before
        session.sendall(b"TP/1.1\r\nHost: amphora\r\nConnection: close\r\n\r\n")
        assert session.recv(12) == b"HTTP/1.1 200"
    agent.server_pem.write_bytes(first)


def test_tls_failed_handshakes_are_logged_with_their_cause(fresh_place: Place) -> None:
    """Each way of being turned away has a line of its own, and a success has none."""
    place = fresh_place
    expired = place.pki.expired_controller(place.directory)
    distrustful = place.client(place.pki.controller)
    with running(place):
        place.client(place.pki.controller).get("/")
        assert "handshakes failed" not in place.log.read_text()
        for identity, cause in (
            (None, "no client certificate"),
            (place.pki.stranger, "client certificate of an unknown CA"),
            (expired, "client certificate expired"),
        ):
            with pytest.raises(RefusedError):
                place.client(identity).get("/")
            _await_line(place, f"TLS handshakes failed, {cause}: 1, last with 127.0.0.1")
        with contextlib.closing(distrustful.dial()) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: amphora\r\n\r\n")
            _await_line(place, "TLS handshakes failed, plain HTTP: 1, last with 127.0.0.1")
        with contextlib.closing(distrustful.dial()) as noise:
            noise.sendall(b"\x80" * 300)
            _await_line(place, "TLS handshakes failed, not TLS: 1, last with 127.0.0.1")
        distrustful.dial().close()
        _await_line(place, "TLS handshakes failed, closed by the client: 1, last with 127.0.0.1")
        with contextlib.closing(distrustful.dial()):
            _await_line(place, "TLS handshakes failed, timeout: 1, last with 127.0.0.1")


def test_tls_client_that_distrusts_the_amphora_is_a_cause(fresh_place: Place) -> None:
    """A controller with a wrong server_ca shows in the amphora's log."""
    place = fresh_place
    with running(place):
        with contextlib.closing(place.client(None).dial()) as sock:
            context = ssl.create_default_context(cafile=str(place.pki.client_chain))
            context.check_hostname = False
            with pytest.raises(ssl.SSLCertVerificationError):
                context.wrap_socket(sock)
        _await_line(place, "TLS handshakes failed, refused by the client: 1")


def test_agent_tightens_modes_at_its_start(fresh_place: Place) -> None:
    """Files with keys that injection left open are for root only; a tighter mode stays."""
    fresh_place.server_pem.chmod(0o644)
    fresh_place.config_file.chmod(0o660)
    with running(fresh_place):
        assert stat.S_IMODE(fresh_place.server_pem.stat().st_mode) == 0o600
        assert stat.S_IMODE(fresh_place.config_file.stat().st_mode) == 0o600
    fresh_place.server_pem.chmod(0o400)
    with running(fresh_place):
        assert stat.S_IMODE(fresh_place.server_pem.stat().st_mode) == 0o400


@contextlib.contextmanager
def running(place: Place) -> Iterator[None]:
    """An agent of the test's own."""
    process = place.start()
    try:
        place.await_answer()
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert "Traceback" not in place.log.read_text()


def _await_line(place: Place, words: str) -> None:
    found: Callable[[], bool | None] = lambda: words in place.log.read_text() or None  # noqa: E731
    try:
        waiting.until(words, found, deadline_s=30, every_s=0.05)
    except waiting.DeadlinePassedError as exc:
        exc.add_note(place.log.read_text())
        raise


def test_agent_waits_for_its_files_and_says_why(fresh_place: Place) -> None:
    """Missing and broken files are named one after the other, and the last one starts the API."""
    place = fresh_place
    pem = place.server_pem.read_bytes()
    config = place.config_file.read_text()
    place.server_pem.unlink()
    place.config_file.unlink()
    process = place.start()

    def told(words: str) -> None:
        waiting.until(
            words,
            lambda: words in place.log.read_text() or None,
            deadline_s=20,
            every_s=0.05,
        )

    try:
        told(f"amphora-agent waits: {place.config_file} is missing")
        place.config_file.write_text("[haproxy_amphora]\nbind_port = x\n" + config)
        told("[haproxy_amphora] bind_port = 'x' is not valid: right would be a port number")
        place.config_file.write_text(config)
        told(f"{place.server_pem} is missing")
        place.server_pem.write_bytes(pem[: len(pem) // 2])
        told(f"{place.server_pem} is not usable")
        place.server_pem.write_bytes(pem)
        place.await_answer()
    finally:
        process.terminate()
        process.wait(timeout=20)
