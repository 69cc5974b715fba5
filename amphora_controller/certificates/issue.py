# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates, made in memory.

Extensions follow RFC 5280 to the letter, as Python 3.13 and `openssl verify -x509_strict` ask for:
every certificate names its key and its issuer's key and says what the key may be used for, and what
must be critical is.
"""

import datetime
from dataclasses import dataclass, field, replace
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

# A controller or an amphora whose clock is behind takes the certificate all the same.
_CLOCK_SKEW = datetime.timedelta(minutes=5)


class KeyKind(StrEnum):
    """The algorithm and size of new keys."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"


class Purpose(StrEnum):
    """Whom an authority signs for."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The name in a certificate, less its common name."""

    country: str = ""
    state: str = ""
    locality: str = ""
    organization: str = "OpenStack"
    unit: str = "Octavia"

    def named(self, common_name: str) -> x509.Name:
        """The whole name; parts that are empty are left out.

        Raises:
            ValueError: a part is too long, or the country is not two letters.
        """
        parts = (
            (NameOID.COUNTRY_NAME, self.country),
            (NameOID.STATE_OR_PROVINCE_NAME, self.state),
            (NameOID.LOCALITY_NAME, self.locality),
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.unit),
            (NameOID.COMMON_NAME, common_name),
        )
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts if text])


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: str | None) -> bytes:
        """The key, encrypted unless the passphrase is None.

        In the traditional format when it is not encrypted, which every release of Octavia reads.
        """
        if passphrase is None:
            return self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode()),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How certificates are made.

    Attributes:
        now: from when they are valid; aware.
    """

    kind: KeyKind
    subject: Subject
    now: datetime.datetime


def root(purpose: Purpose, recipe: Recipe, *, days: int) -> Issued:
    """A root authority, which signs itself."""
    return _sign(
        _authority_name(purpose, "Root"),
        recipe,
        days=days,
        issuer=None,
        extensions=_authority(None),
    )


def intermediate(purpose: Purpose, recipe: Recipe, *, days: int, issuer: Issued) -> Issued:
    """An authority that signs certificates, but no other authority."""
    name = _authority_name(purpose, "Intermediate")
    return _sign(name, recipe, days=days, issuer=issuer, extensions=_authority(0))


def controller(recipe: Recipe, *, days: int, issuer: Issued) -> Issued:
    """The certificate that controllers show to amphorae."""
    usage = _usage(
        digital_signature=True, key_encipherment=isinstance(issuer.key, rsa.RSAPrivateKey)
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]
    return _sign("OctaviaController", recipe, days=days, issuer=issuer, extensions=extensions)


def amphora(recipe: Recipe, amphora_id: str, *, days: int, issuer: Issued) -> Issued:
    """The certificate that one amphora serves with.

    As Octavia's local certificate generator makes them: the common name is all of the subject,
    whatever the recipe's is.

    Args:
        amphora_id: the UUID, which controllers look for in subjectAltName.
    """
    encrypts = recipe.kind.startswith("rsa-")
    usage = _usage(
        digital_signature=True,
        key_encipherment=encrypts,
        data_encipherment=encrypts,
        key_agreement=True,
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName([x509.DNSName(amphora_id)]), False),
        (usage, True),
        (
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            True,
        ),
    ]
    nameless = replace(recipe, subject=Subject(organization="", unit=""))
    return _sign(amphora_id, nameless, days=days, issuer=issuer, extensions=extensions)


def _authority_name(purpose: Purpose, level: str) -> str:
    return f"{purpose.capitalize()}{level}CA"


def _authority(path_length: int | None) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_usage(digital_signature=True, sign=True), True),
    ]


def _usage(
    *,
    digital_signature: bool,
    key_encipherment: bool = False,
    data_encipherment: bool = False,
    key_agreement: bool = False,
    sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=data_encipherment,
        key_agreement=key_agreement,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key(kind: KeyKind) -> PrivateKey:
    if kind is KeyKind.ECDSA_P256:
        return ec.generate_private_key(ec.SECP256R1())
    if kind is KeyKind.ECDSA_P384:
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa-")))


def _sign(
    common_name: str,
    recipe: Recipe,
    *,
    days: int,
    issuer: Issued | None,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> Issued:
    key = _new_key(recipe.kind)
    name = recipe.subject.named(common_name)
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signer, issuer_name, issuer_id = key, name, own_id
    if issuer is not None:
        signer, issuer_name = issuer.key, issuer.certificate.subject
        issuer_id = issuer.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(recipe.now - _CLOCK_SKEW)
        .not_valid_after(recipe.now + datetime.timedelta(days=days))
        .add_extension(own_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id),
            critical=False,
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Issued(certificate=builder.sign(signer, hashes.SHA256()), key=key)
