# SPDX-License-Identifier: Apache-2.0
"""What parts of a document have in common: kinds of numbers, protocols, and versions of TLS."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Threshold = Annotated[int, Meta(ge=1, le=100)]


class Protocol(StrEnum):
    """What a listener or a pool speaks; PROXY and PROXYV2 only pools, PROMETHEUS only listeners."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    TCP = "TCP"
    TERMINATED_HTTPS = "TERMINATED_HTTPS"
    PROMETHEUS = "PROMETHEUS"
    PROXY = "PROXY"
    PROXYV2 = "PROXYV2"
    UDP = "UDP"
    SCTP = "SCTP"


# Served by keepalived and the kernel's IPVS; all others by haproxy.
LVS_PROTOCOLS = frozenset({Protocol.UDP, Protocol.SCTP})


class TlsVersion(StrEnum):
    """A version of TLS."""

    SSLV3 = "SSLv3"
    TLSV1 = "TLSv1"
    TLSV1_1 = "TLSv1.1"
    TLSV1_2 = "TLSv1.2"
    TLSV1_3 = "TLSv1.3"


class TlsProfile(StrEnum):
    """A set of versions and ciphers that fits most clients (intermediate) or new ones (modern)."""

    MODERN = "modern"
    INTERMEDIATE = "intermediate"


class AlpnProtocol(StrEnum):
    """What is offered in the TLS handshake."""

    HTTP_1_0 = "http/1.0"
    HTTP_1_1 = "http/1.1"
    HTTP_2 = "h2"


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the document."""
