# SPDX-License-Identifier: Apache-2.0
"""The two certificate authorities of an Octavia deployment, made afresh for one test run.

One chain (server) signs the amphorae, the other (client) signs the controller, so that an amphora's
certificate cannot act as a controller. Extensions follow the strict reading of RFC 5280 that Python
3.13 applies: every CA and leaf names its key, its issuer's key and what the key may be used for.
"""

import datetime
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ROOT_DAYS = 7300
_INTERMEDIATE_DAYS = 3650
_CONTROLLER_DAYS = 1825
_AMPHORA_DAYS = 30  # octavia.conf, certificates.cert_validity_time


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A certificate and the private key it belongs to."""

    public: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)

    def pem(self) -> bytes:
        """The certificate alone."""
        return self.public.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The unencrypted key as an "RSA PRIVATE KEY" block (PKCS#1), as Octavia writes it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """A root and the intermediate that signs leaves."""

    root: Certificate
    intermediate: Certificate

    def revocations_pem(self) -> bytes:
        """A list of revoked certificates, with none on it."""
        now = datetime.datetime.now(datetime.UTC)
        issuer = self.intermediate
        revocations = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.public.subject)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=30))
            .sign(issuer.key, hashes.SHA256())
        )
        return revocations.public_bytes(serialization.Encoding.PEM)

    def chain_pem(self) -> bytes:
        """What a verifier is given: intermediate, then root."""
        return self.intermediate.pem() + self.root.pem()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pki:
    """Both authorities and the files that controller and tests use.

    Attributes:
        server_chain: for octavia.conf haproxy_amphora.server_ca.
        client_chain: for octavia.conf controller_worker.client_ca; injected as client_ca.pem.
        controller: key and certificate of the controller, haproxy_amphora.client_cert.
        stranger: the same bundle, signed by an authority that the amphora does not know.
    """

    server: Authority
    client: Authority
    server_chain: Path
    client_chain: Path
    controller: Path
    stranger: Path

    def amphora_pem(self, amphora_id: uuid.UUID, *, since_days: int = 0) -> bytes:
        """Mint server.pem for one amphora: leaf certificate, then its key.

        Args:
            since_days: when it became valid; it is so for 30 days. Negative: when it will.
        """
        leaf = _amphora_certificate(self.server.intermediate, amphora_id, since_days)
        return leaf.pem() + leaf.key_pem()

    def expired_controller(self, directory: Path) -> Path:
        """Key and certificate of the controller, five years and more old."""
        path = directory / f"expired-{uuid.uuid4()}.pem"
        bundle = _controller_bundle(self.client, since_days=_CONTROLLER_DAYS + 1)
        _write(path, bundle, mode=0o600)
        return path


def create(directory: Path) -> Pki:
    """Make both authorities and write their files into `directory`."""
    server = _authority("Server")
    client = _authority("Client")
    pki = Pki(
        server=server,
        client=client,
        server_chain=directory / "server_ca-chain.cert.pem",
        client_chain=directory / "client_ca.cert.pem",
        controller=directory / "client.cert-and-key.pem",
        stranger=directory / "stranger.cert-and-key.pem",
    )
    _write(pki.server_chain, server.chain_pem(), mode=0o444)
    _write(pki.client_chain, client.chain_pem(), mode=0o444)
    _write(pki.controller, _controller_bundle(client), mode=0o600)
    _write(pki.stranger, _controller_bundle(_authority("Stranger")), mode=0o600)
    return pki


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """Create a file that never had another mode than `mode`."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)


def _authority(role: str) -> Authority:
    root = _sign(
        subject=_organisation(f"{role}RootCA"),
        days=_ROOT_DAYS,
        issuer=None,
        extensions=_ca_extensions(path_length=None),
    )
    intermediate = _sign(
        subject=_organisation(f"{role}IntermediateCA"),
        days=_INTERMEDIATE_DAYS,
        issuer=root,
        extensions=_ca_extensions(path_length=0),
    )
    return Authority(root=root, intermediate=intermediate)


def _controller_bundle(authority: Authority, *, since_days: int = 0) -> bytes:
    """Key first, then the certificate, as the deployment script of Octavia orders them."""
    leaf = _sign(
        since_days=since_days,
        subject=_organisation("OctaviaController"),
        days=_CONTROLLER_DAYS,
        issuer=authority.intermediate,
        extensions=[
            (x509.BasicConstraints(ca=False, path_length=None), False),
            (_usage("digital_signature", "content_commitment", "key_encipherment"), True),
            (
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION]
                ),
                False,
            ),
        ],
    )
    return leaf.key_pem() + leaf.pem()


def _amphora_certificate(
    issuer: Certificate, amphora_id: uuid.UUID, since_days: int
) -> Certificate:
    """The leaf that Octavia's local certificate generator signs for one amphora."""
    return _sign(
        since_days=since_days,
        subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(amphora_id))]),
        days=_AMPHORA_DAYS,
        issuer=issuer,
        extensions=[
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([x509.DNSName(str(amphora_id))]), False),
            (
                _usage(
                    "digital_signature", "key_encipherment", "data_encipherment", "key_agreement"
                ),
                True,
            ),
            (
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                True,
            ),
        ],
    )


def _sign(
    *,
    subject: x509.Name,
    days: int,
    issuer: Certificate | None,
    extensions: list[tuple[x509.ExtensionType, bool]],
    since_days: int = 0,
) -> Certificate:
    """Sign `subject` with a new RSA-2048 key; without an issuer it signs itself."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signing_key = issuer.key if issuer else key
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=since_days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.public.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(uuid.uuid4().int)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Certificate(public=builder.sign(signing_key, hashes.SHA256()), key=key)


def _organisation(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Oregon"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Corvallis"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OpenStack"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Octavia"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _ca_extensions(*, path_length: int | None) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_usage("digital_signature", "crl_sign", "key_cert_sign"), True),
    ]


def _usage(*allowed: str) -> x509.KeyUsage:
    """A keyUsage extension with the named bits set and all others clear."""
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in allowed for bit in bits})
