# SPDX-License-Identifier: Apache-2.0
"""Which server.pem is stored, and why another is not."""

import stat
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from amphora_agent.errors import AgentError, InvalidRequest
from amphora_agent.operations import server_certificate
from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.services import SystemdServices
from amphora_agent.wiring import build_context
from tests.support import pki

AMPHORA = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
OLD = b"what was there before"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    """Certificates of one deployment."""
    return pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """An agent whose certificate lies in a directory of the test's."""
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(OLD)
    return build_context(
        Settings(amphora_id=str(AMPHORA), agent_server_cert=certificate),
        services=SystemdServices(),
        netns="amphora-haproxy",
        config_file=tmp_path / "amphora-agent.conf",
    )


def _stored(context: Context) -> bytes:
    return context.settings.agent_server_cert.read_bytes()


def test_server_certificate_of_octavia_is_stored_as_it_is(
    context: Context, authorities: pki.Pki
) -> None:
    """A valid certificate and key replace the old file byte for byte, readable by root only."""
    pem = authorities.amphora_pem(AMPHORA)
    server_certificate.upload(context, pem)
    assert _stored(context) == pem
    assert stat.S_IMODE(context.settings.agent_server_cert.stat().st_mode) == 0o600


def test_server_certificate_with_crlf_is_stored(context: Context, authorities: pki.Pki) -> None:
    """Lines may end as on Windows."""
    pem = authorities.amphora_pem(AMPHORA).replace(b"\n", b"\r\n")
    server_certificate.upload(context, pem)
    assert _stored(context) == pem


def _split(pem: bytes) -> tuple[bytes, bytes]:
    end = b"-----END CERTIFICATE-----\n"
    certificate, _, key = pem.partition(end)
    return certificate + end, key


def _encrypted(pem: bytes) -> bytes:
    certificate, key = _split(pem)
    return certificate + load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda *_: b"", "there is no certificate"),
        (lambda *_: b"\xff\x00 not a PEM", "there is no certificate"),
        (lambda pem, _: _split(pem)[1], "there is no certificate"),
        (lambda pem, _: _split(pem)[0], "there is no private key"),
        (lambda pem, _: pem[: len(pem) // 3], "there is no certificate"),
        (lambda pem, _: pem[:-200], "it is not usable"),
        (lambda pem, _: pem.replace(b"MII", b"\xff\xfe!", 1), "there is no certificate"),
        (lambda pem, _: pem.replace(b"MII", b"!!!", 1), "it is not usable"),
        (lambda pem, other: _split(pem)[0] + _split(other)[1], "does not belong"),
        (lambda pem, _: _encrypted(pem), "the private key is encrypted"),
    ],
)
def test_server_certificate_that_cannot_serve_is_refused(
    context: Context,
    authorities: pki.Pki,
    spoil: Callable[[bytes, bytes], bytes],
    why: str,
) -> None:
    """What does not parse, is incomplete or does not match is a 400 that says so; the old stays."""
    bad = spoil(authorities.amphora_pem(AMPHORA), authorities.amphora_pem(AMPHORA))
    with pytest.raises(InvalidRequest) as refused:
        server_certificate.upload(context, bad)
    assert why in refused.value.details
    assert _stored(context) == OLD


def test_expired_server_certificate_is_refused(context: Context, authorities: pki.Pki) -> None:
    """One whose days are over is a 400 that says so, and the old file stays."""
    with pytest.raises(InvalidRequest) as refused:
        server_certificate.upload(context, authorities.amphora_pem(AMPHORA, since_days=31))
    assert "certificate has expired" in refused.value.details
    assert _stored(context) == OLD
    server_certificate.upload(context, authorities.amphora_pem(AMPHORA, since_days=29))
    assert _stored(context) != OLD


def test_server_certificate_of_a_clock_ahead_is_taken(
    context: Context, authorities: pki.Pki, caplog: pytest.LogCaptureFixture
) -> None:
    """The controller dates certificates by its own clock; one that is ahead cuts nobody off."""
    pem = authorities.amphora_pem(AMPHORA, since_days=-1)
    server_certificate.upload(context, pem)
    assert _stored(context) == pem
    assert "not yet valid by the clock of this amphora" in caplog.text


def test_server_certificate_for_clients_only_is_refused(
    context: Context, authorities: pki.Pki
) -> None:
    """The controller's own certificate, which may not serve, is refused."""
    key, begin, certificate = authorities.controller.read_bytes().partition(
        b"-----BEGIN CERTIFICATE-----"
    )
    with pytest.raises(InvalidRequest) as refused:
        server_certificate.upload(context, begin + certificate + key)
    assert "purpose" in refused.value.details


def test_server_certificate_without_directory_is_an_error_of_the_amphora(
    tmp_path: Path, authorities: pki.Pki
) -> None:
    """A file that cannot be written is no fault of the request."""
    missing = tmp_path / "missing" / "server.pem"
    context = build_context(
        Settings(amphora_id=str(AMPHORA), agent_server_cert=missing),
        services=SystemdServices(),
        netns="amphora-haproxy",
        config_file=tmp_path / "amphora-agent.conf",
    )
    with pytest.raises(AgentError, match="No such file") as failed:
        server_certificate.upload(context, authorities.amphora_pem(AMPHORA))
    assert failed.value.http_status == 500
