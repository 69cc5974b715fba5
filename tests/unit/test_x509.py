# SPDX-License-Identifier: Apache-2.0
"""Dates of certificates, beside those that the library cryptography reads."""

import base64
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import x509
from amphora_agent.errors import ParseError

_KEY = ec.generate_private_key(ec.SECP256R1())
_NAME = library.Name([library.NameAttribute(library.NameOID.COMMON_NAME, "x" * 60)])


def certificate(not_before: datetime, not_after: datetime) -> str:
    """A self-signed certificate in PEM."""
    made = (
        library.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(_KEY.public_key())
        .serial_number(library.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .sign(_KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("year", [1970, 1999, 2000, 2026, 2049, 2050, 2069, 2070, 9999])
def test_validity_is_what_was_signed(year: int) -> None:
    """Both forms of time are read, of either century, and text around the certificate is not."""
    begin = datetime(1960, 1, 2, 3, 4, 5, tzinfo=UTC)
    end = datetime(year, 11, 12, 13, 14, 15, tzinfo=UTC)
    pem = certificate(begin, end)
    assert x509.validity(f"subject=x\n{pem}more\n") == x509.Validity(
        not_before=begin, not_after=end
    )


def test_validity_of_other_texts() -> None:
    """Without a certificate there are no dates; a broken one is an error."""
    assert x509.validity("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") is None
    pem = certificate(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    for broken in ("AAAA", "A", base64.b64encode(b"\x30\x80\x00").decode()):
        with pytest.raises(ParseError):
            x509.validity(f"-----BEGIN CERTIFICATE-----\n{broken}\n-----END CERTIFICATE-----\n")
    body = pem.split("-----")[2]
    with pytest.raises(ParseError):
        x509.validity(f"-----BEGIN CERTIFICATE-----{body[:120]}\n-----END CERTIFICATE-----\n")


@given(st.binary(max_size=200))
def test_validity_of_anything_is_an_error_of_ours(content: bytes) -> None:
    """Whatever stands between the lines, there is a result or a ParseError."""
    text = base64.b64encode(content).decode() or "A"
    with contextlib.suppress(ParseError):
        x509.validity(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")


def test_warning_of_dates() -> None:
    """Before and after its time a certificate is told of, and not within."""
    now = datetime(2026, 5, 1, tzinfo=UTC)
    day = timedelta(days=1)
    assert x509.warning(x509.Validity(not_before=now - day, not_after=now + day), now) is None
    late = x509.Validity(not_before=now - 2 * day, not_after=now - day)
    assert x509.warning(late, now) == "expired at 2026-04-30T00:00:00Z"
    early = x509.Validity(not_before=now + day, not_after=now + 2 * day)
    assert x509.warning(early, now) == "not valid before 2026-05-02T00:00:00Z"
