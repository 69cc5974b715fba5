# SPDX-License-Identifier: Apache-2.0
"""Contents of the certificates that a document names."""

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from amphora_agent import x509
from amphora_agent.balancer.checks import InvalidDocument, Problem
from amphora_agent.balancer.document import Certificate, LoadBalancer
from amphora_agent.balancer.state import File
from amphora_agent.errors import CertificateGone, ConfigError, ParseError
from amphora_agent.operations.context import Context
from amphora_agent.system import tls


def resolve(context: Context, document: LoadBalancer) -> tuple[LoadBalancer, dict[str, bytes]]:
    """The document with the checksum of each certificate, and contents by name.

    What a document leaves out is what the amphora has already: by its checksum, from any of the
    revisions that are kept, or else what has the name now.

    Raises:
        InvalidDocument: a content is not what its checksum says, or not what it is used for.
        CertificateGone: a content is not here.
    """
    contents: dict[str, bytes] = {}
    certificates = []
    problems, gone = [], []
    for index, certificate in enumerate(document.certificates):
        content = _content(context, document.id, certificate)
        if content is None:
            gone.append(certificate.name)
            continue
        sha256 = File(content=content, mode=0o600).sha256
        if certificate.sha256 not in {None, sha256}:
            reason = f"it is not that of pem, which has {sha256}"
            problems.append(Problem(path=f"certificates[{index}].sha256", reason=reason))
        contents[certificate.name] = content
        certificates.append(replace(certificate, sha256=sha256))
    if problems:
        raise InvalidDocument(tuple(problems))
    if gone:
        raise CertificateGone(
            "The amphora does not have the content of a certificate",
            f"{', '.join(gone)}: certificates are in memory only; PUT the document with pem",
        )
    return replace(document, certificates=tuple(certificates)), contents


def check(document: LoadBalancer, contents: Mapping[str, bytes]) -> None:
    """See that each certificate that is shown to others has its key.

    Raises:
        InvalidDocument: one has not.
    """
    with_key = {
        name for found in document.listeners if found.tls for name in found.tls.certificates
    }
    with_key |= {
        pool.tls.certificate for pool in document.pools if pool.tls and pool.tls.certificate
    }
    problems = []
    for index, certificate in enumerate(document.certificates):
        if certificate.name in with_key:
            try:
                tls.check_pair(contents[certificate.name])
            except ConfigError as exc:
                problems.append(Problem(path=f"certificates[{index}].pem", reason=exc.details))
    if problems:
        raise InvalidDocument(tuple(problems))


def warnings(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """What is wrong with the dates of certificates now."""
    now = datetime.now(UTC)
    found = []
    for name, content in sorted(contents.items()):
        try:
            dates = x509.validity(content.decode(errors="replace"))
        except ParseError as exc:
            found.append(f"certificate {name}: {exc.message}")
            continue
        if dates is not None and (wrong := x509.warning(dates, now)):
            found.append(f"certificate {name} is {wrong}")
    return tuple(found)


def _content(context: Context, lb_id: str, certificate: Certificate) -> bytes | None:
    if certificate.pem is not None:
        return certificate.pem.encode()
    layout = context.settings.layout
    places = [layout.cert_dir(lb_id) / f"{certificate.name}.pem"]
    if certificate.sha256 is not None:
        places.insert(0, layout.kept_certificate(lb_id, certificate.sha256))
    for place in places:
        found = context.disk.read(place)
        if found is None:
            continue
        file = File(content=found[0], mode=found[1])
        if certificate.sha256 in {None, file.sha256}:
            return file.content
    return None
