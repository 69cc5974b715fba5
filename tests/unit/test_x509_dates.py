# SPDX-License-Identifier: Apache-2.0
"""The end of a certificate, read without a library that reads all of it."""

import base64
import contextlib
import datetime
from datetime import UTC

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import x509
from amphora_agent.errors import ParseError

KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN = datetime.datetime(1950, 1, 1, tzinfo=UTC)
END = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


def certificate(end: datetime.datetime, name: str = "amphora", serial: int = 1) -> bytes:
    """A certificate that the library made, in DER."""
    subject = library.Name([library.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        library.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(BEGIN)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> str:
    made = library.load_der_x509_certificate(der)
    return made.public_bytes(serialization.Encoding.PEM).decode()


def text(der: bytes) -> str:
    """Any bytes in the form of a certificate."""
    encoded = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{encoded}-----END CERTIFICATE-----\n"


def end_of(der: bytes) -> datetime.datetime:
    [dates] = x509.validities(text(der))
    return dates.not_after


SOME = certificate(END)


@given(
    st.datetimes(min_value=datetime.datetime(1951, 1, 1)),
    st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=64),
    st.integers(min_value=1, max_value=2**158),
)
def test_end_is_the_one_that_was_written(end: datetime.datetime, name: str, serial: int) -> None:
    """Whatever the library writes as the end is read, on both sides of 2050."""
    end = end.replace(microsecond=0, tzinfo=UTC)

    assert end_of(certificate(end, name, serial)) == end


def element(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return bytes([tag, len(content)]) + content


@pytest.mark.parametrize("version", [b"", element(0xA0, element(2, b"\2"))])
def test_certificate_without_a_version_is_read(version: bytes) -> None:
    """A certificate of version 1, which names no version, has its end at the same place."""
    dates = element(0x30, element(0x17, b"200101000000Z"), element(0x18, b"20310203040506Z"))
    names = element(2, b"\1"), element(0x30), element(0x30)

    assert end_of(element(0x30, element(0x30, version, *names, dates))) == END


@pytest.mark.parametrize(
    "end",
    [
        element(0x17, b"310203040506+0100"),
        element(0x17, b"3102030405Z"),
        element(0x17, b"311303040506Z"),
        element(0x18, b"20310203040506.5Z"),
        element(0x16, b"310203040506Z"),
    ],
)
def test_time_that_rfc_5280_forbids_is_refused(end: bytes) -> None:
    """A time in a zone, without seconds, with parts of them, or on no day is an error."""
    dates = element(0x30, element(0x17, b"200101000000Z"), end)
    names = element(2, b"\1"), element(0x30), element(0x30)

    with pytest.raises(ParseError):
        end_of(element(0x30, element(0x30, *names, dates)))


@pytest.mark.parametrize("length", range(0, 90))
def test_part_of_a_certificate_is_refused(length: int) -> None:
    """A certificate that was cut off is an error and no date."""
    with pytest.raises(ParseError):
        end_of(SOME[:length])


@given(
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=len(SOME) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=8,
    )
)
def test_damaged_certificate_is_refused_or_read(changes: list[tuple[int, int]]) -> None:
    """Changed bytes give a date or a ParseError, never another error."""
    damaged = bytearray(SOME)
    for position, value in changes:
        damaged[position] = value

    with contextlib.suppress(ParseError):
        assert end_of(bytes(damaged)).tzinfo is UTC


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    """Bytes that are no certificate are an error."""
    with pytest.raises(ParseError):
        end_of(data)


def test_every_certificate_of_a_file_counts() -> None:
    """Of a chain with a key between its certificates all dates are read, in their order."""
    sooner, later = END, END + datetime.timedelta(days=1)
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    first, second = (pem(certificate(end)) for end in (later, sooner))

    found = x509.validities("text\r\n" + first.replace("\n", "\r\n") + key + second)

    assert [dates.not_after for dates in found] == [later, sooner]
    assert [dates.not_before for dates in found] == [BEGIN, BEGIN]
    assert x509.validity(key + first + second) == found[0]


def test_file_without_certificates_has_no_dates() -> None:
    """A list of file names, or of revoked certificates, is no error."""
    assert x509.validities("/var/lib/octavia/certs/x/y.pem example.org\n") == []
    assert x509.validity("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n") is None


@pytest.mark.parametrize(
    "damaged",
    [
        "-----BEGIN CERTIFICATE-----\n" + pem(SOME)[28:200],
        pem(SOME) + "-----BEGIN CERTIFICATE-----\nAAAA",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
    ],
)
def test_broken_file_is_refused(damaged: str) -> None:
    """A certificate that is marked as one and is none is an error."""
    with pytest.raises(ParseError):
        x509.validities(damaged)
