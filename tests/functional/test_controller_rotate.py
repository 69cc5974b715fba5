# SPDX-License-Identifier: Apache-2.0
"""`amphoractl amphora rotate` gives the real agent a new certificate while it serves."""

import datetime
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from amphora_controller.amphora.client import PORT, Amphora
from amphora_controller.amphora.refusals import Refused, expect
from amphora_controller.certificates import store
from tests.functional import controller_console
from tests.functional.conftest import Place
from tests.functional.controller_console import ADDRESS, Console
from tests.support import amphoractl
from tests.support.cutting_proxy import Breaks, Proxy, cutting_proxy
from tests.support.sites import document


@pytest.fixture
def console(agent: Place, tmp_path: Path) -> Console:
    """A controller."""
    return controller_console.make(agent, tmp_path / "certs")


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the command finds it."""
    monkeypatch.setenv("AMPHORA_CA_PASSPHRASE", amphoractl.PASSPHRASE)


@pytest.fixture
def proxy(agent: Place) -> Iterator[Proxy]:
    """A way to the agent that may break."""
    with cutting_proxy(agent.outer, PORT) as made:
        yield made


def served(place: Place) -> x509.Certificate:
    """What the agent shows in a handshake; a controller takes it, by its chain and its name."""
    answer = place.client(place.pki.controller).request("GET", "/")
    assert answer.status == 200
    return x509.load_der_x509_certificate(answer.certificate)


@pytest.mark.parametrize("kind", ["rsa-2048", "ecdsa-p256"])
def test_rotate_serves_a_certificate_as_octavia_makes_them(
    console: Console, tmp_path: Path, kind: str
) -> None:
    """The new one is served at once, names the amphora alone, and holds when read strictly."""
    before = served(console.place)
    [row] = console.amphora("rotate", ADDRESS, "--key", kind, "--days", "20", "--json").json
    after = served(console.place)
    assert after.serial_number != before.serial_number
    assert row["id"] == str(console.place.amphora_id)
    assert row["until"] == after.not_valid_after_utc.isoformat()
    assert (after.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days in {19, 20}
    [only] = after.subject
    assert (only.oid, only.value) == (NameOID.COMMON_NAME, str(console.place.amphora_id))
    usage = after.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert usage.critical
    assert set(usage.value) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    pem = tmp_path / "served.pem"
    store.Store(directory=tmp_path).write({pem: store.pem([after])})
    for purpose in ("sslserver", "sslclient"):
        done = subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-purpose", purpose),
                *("-CAfile", str(console.store.server_chain), str(pem)),
            ],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert console.amphora("info", ADDRESS).status == 0


def test_rotate_takes_the_authority_of_the_site(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site names the directory and holds the passphrase; a wrong one uploads nothing."""
    monkeypatch.delenv("AMPHORA_CA_PASSPHRASE")
    before = served(console.place)
    file = tmp_path / "site.yaml"
    for secret, status in (("another one", 3), (amphoractl.PASSPHRASE, 0)):
        changes = {
            "certificates__directory": str(console.directory),
            "certificates__ca_passphrase": secret,
        }
        file.write_text(yaml.safe_dump(document(**changes)))
        said = amphoractl.run(
            console.place.outer, "amphora", "rotate", ADDRESS, "--site", str(file)
        )
        assert said.status == status, said
        assert (served(console.place) == before) == (status != 0)
    said = console.amphora("rotate", ADDRESS)
    assert "no passphrase for the authorities' keys" in said.err


def test_rotate_with_a_key_of_another_authority_uploads_nothing(console: Console) -> None:
    """A key that is not that of the signing certificate is named, and the agent is not asked."""
    before = served(console.place)
    foreign = amphoractl.encrypted_key(console.place.pki.client)
    console.store.write({console.store.server_key: foreign})
    # Nobody listens at that port.
    said = console.amphora("rotate", ADDRESS, "--port", "9444")
    assert said.status == 3
    assert "server_ca.key.pem is not that of the certificate" in said.err
    assert served(console.place) == before


def test_rotate_with_an_authority_that_nobody_trusts_uploads_nothing(console: Console) -> None:
    """Controllers would refuse what it signs, and the amphora would be lost to them."""
    before = served(console.place)
    foreign = console.place.pki.client
    console.store.write(
        {
            console.store.server_certificate: foreign.intermediate.pem(),
            console.store.server_key: amphoractl.encrypted_key(foreign),
        }
    )
    said = console.amphora("rotate", ADDRESS)
    assert said.status == 3
    assert "controllers do not trust the authority that would sign" in said.err
    assert served(console.place) == before


def test_rotate_does_not_outlive_its_authority(console: Console) -> None:
    """A certificate of more days than the authority has left is not made."""
    before = served(console.place)
    said = console.amphora("rotate", ADDRESS, "--days", "5000")
    assert said.status == 3
    assert "before a certificate of 5000 days: nothing was uploaded" in said.err
    assert served(console.place) == before


def test_agent_refuses_a_key_that_does_not_match(console: Console) -> None:
    """A certificate with another one's key is refused in the agent's words; the old one serves."""
    place = console.place
    before = served(place)
    pems = [place.pki.amphora_pem(place.amphora_id) for _ in range(2)]
    begin = b"-----BEGIN RSA PRIVATE KEY-----"
    mixed = pems[0].partition(begin)[0] + begin + pems[1].partition(begin)[2]
    asked = Amphora(
        address=ADDRESS, trust=console.store.server_chain, identity=console.store.client_bundle
    )
    with place.outer.entered():
        answer = asked.request("PUT", "/1.0/certificate", mixed)
    with pytest.raises(Refused, match="does not belong to the first certificate"):
        expect(answer, 202)
    assert served(place) == before


def test_interrupted_upload_leaves_the_old_certificate(console: Console, proxy: Proxy) -> None:
    """A connection that breaks in the upload is told, the old one serves, and a repeat works."""
    before = served(console.place)
    in_body = _handshake_bytes(console, proxy) + 1000
    proxy.break_next(Breaks.CONNECTION, after_bytes=in_body)
    said = console.amphora("rotate", ADDRESS, "--port", str(proxy.port))
    assert (said.status, proxy.broken) == (3, 1), said
    assert "the amphora goes on serving the old certificate" in said.err
    assert "run it again" in said.err
    assert served(console.place) == before
    again = console.amphora("rotate", ADDRESS, "--port", str(proxy.port))
    assert again.status == 0, again.err
    assert served(console.place) != before


def test_answer_that_gets_lost_is_no_failure(console: Console, proxy: Proxy) -> None:
    """When only the answer to the upload is lost, the handshake shows that it was done."""
    before = served(console.place)
    in_body = _handshake_bytes(console, proxy) + 1000
    proxy.break_next(Breaks.ANSWER, after_bytes=in_body)
    said = console.amphora("rotate", ADDRESS, "--port", str(proxy.port), "--json")
    [row] = said.json
    assert proxy.broken == 1
    after = served(console.place)
    assert after != before
    assert row["fingerprint"] == after.fingerprint(hashes.SHA256()).hex()


def test_rotate_tells_when_it_cannot_see_what_is_served(console: Console, proxy: Proxy) -> None:
    """When nobody can connect after the upload, it is no success, and the next step is said."""
    before = served(console.place)
    in_body = _handshake_bytes(console, proxy) + 1000
    proxy.break_next(Breaks.EVERYTHING, after_bytes=in_body)
    said = console.amphora("rotate", ADDRESS, "--port", str(proxy.port))
    assert said.status == 3
    assert "what is served now could not be seen" in said.err
    assert f"amphoractl amphora probe {ADDRESS}" in said.err
    assert served(console.place) == before


def _handshake_bytes(console: Console, proxy: Proxy) -> int:
    """What a client sends before and with a request that has no body."""
    assert console.amphora("info", ADDRESS, "--port", str(proxy.port)).status == 0
    return proxy.sent[-1]
