# SPDX-License-Identifier: Apache-2.0
"""A new certificate for an amphora, put in place while it serves.

As Octavia's housekeeping does it, and with a look afterwards at what is really served.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from amphora_agent.layout import is_object_id
from amphora_controller.amphora.client import Amphora, Failed, Session
from amphora_controller.amphora.refusals import expect
from amphora_controller.certificates import issue
from amphora_controller.certificates.issue import Issued, Recipe
from amphora_controller.errors import ControllerError

_PATH = "/1.0/certificate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """Who signs amphorae, and how.

    Attributes:
        issuer: the authority in use.
        trusted: what controllers check amphorae against ([haproxy_amphora] server_ca).
        days: how long a certificate is valid ([certificates] cert_validity_time).
    """

    issuer: Issued
    trusted: Sequence[x509.Certificate]
    recipe: Recipe
    days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotated:
    """What an amphora serves now.

    Attributes:
        until: the end of the new certificate; aware.
        until_before: the end of the old one; aware.
        fingerprint: SHA-256 of the new one, in hex.
    """

    amphora_id: str
    until: datetime.datetime
    until_before: datetime.datetime
    fingerprint: str


def rotate(amphora: Amphora, signer: Signer) -> Rotated:
    """Mint a certificate for the amphora, upload it, and see by a new handshake that it serves.

    The amphora's id is the one that its certificate names now.

    Raises:
        ControllerError: the old certificate goes on serving, unless the message says otherwise.
    """
    check(signer)
    with amphora.connect() as session:
        amphora_id = _id(session)
        before = session.certificate
        fresh = issue.amphora(signer.recipe, amphora_id, days=signer.days, issuer=signer.issuer)
        lost = _upload(session, fresh.pem + fresh.key_pem(None))
    served = _served(amphora)
    if served != fresh.certificate:
        raise ControllerError(
            "the amphora goes on serving the old certificate"
            if served == before
            else "the amphora serves another certificate than the new one",
            f"{lost.message}; run it again" if lost else "did somebody else rotate it just now?",
        )
    return Rotated(
        amphora_id=amphora_id,
        until=served.not_valid_after_utc,
        until_before=before.not_valid_after_utc,
        fingerprint=served.fingerprint(hashes.SHA256()).hex(),
    )


def check(signer: Signer) -> None:
    """See that controllers will take what is signed: one that they refuse would cut them off.

    Raises:
        ControllerError: they would not.
    """
    authority = signer.issuer.certificate
    keys = [certificate.public_key() for certificate in signer.trusted]
    if authority.public_key() not in keys:
        raise ControllerError(
            "controllers do not trust the authority that would sign: nothing was uploaded",
            "server_ca-chain.cert.pem does not hold server_ca.cert.pem: amphoractl certs check",
        )
    end = signer.recipe.now + datetime.timedelta(days=signer.days)
    if authority.not_valid_after_utc < end:
        raise ControllerError(
            f"the authority that would sign ends on {authority.not_valid_after_utc:%Y-%m-%d}, "
            f"before a certificate of {signer.days} days: nothing was uploaded",
            "fewer --days, or roll the authority: amphoractl certs roll-ca server begin",
        )


def _upload(session: Session, pem: bytes) -> Failed | None:
    """Send it. What is lost on the way shows in what is served afterwards.

    Returns:
        Why there was no answer, if there was none.

    Raises:
        Refused: the amphora does not take it.
    """
    try:
        answer = session.request("PUT", _PATH, pem)
    except Failed as exc:
        return exc
    expect(answer, 202)
    return None


def _id(session: Session) -> str:
    if len(session.names) != 1 or not is_object_id(session.names[0]):
        raise ControllerError(
            f"the certificate names {', '.join(session.names) or 'nobody'}, which is no amphora",
            "is the address that of an amphora?",
        )
    return session.names[0]


def _served(amphora: Amphora) -> x509.Certificate:
    try:
        with amphora.connect() as session:
            return session.certificate
    except Failed as exc:
        raise ControllerError(
            "the new certificate was sent, but what is served now could not be seen",
            f"{exc.message}; look again with: amphoractl amphora probe {amphora.address}",
        ) from exc
