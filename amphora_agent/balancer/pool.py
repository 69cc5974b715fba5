# SPDX-License-Identifier: Apache-2.0
"""Pools of a document, with their members, monitors and sessions."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from amphora_agent.balancer.parts import (
    AlpnProtocol,
    Count,
    Milliseconds,
    Part,
    Port,
    Protocol,
    Seconds,
    Threshold,
    TlsProfile,
    TlsVersion,
)
from amphora_agent.balancer.values import (
    Address,
    CertificateName,
    CipherList,
    DomainName,
    Granularity,
    ObjectId,
    StatusCodes,
    Token,
    Url,
)


class Algorithm(StrEnum):
    """Which member of a pool takes a connection."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_CONNECTIONS = "LEAST_CONNECTIONS"
    SOURCE_IP = "SOURCE_IP"


class MonitorType(StrEnum):
    """How members are checked."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    PING = "PING"
    TCP = "TCP"
    TLS_HELLO = "TLS-HELLO"
    UDP_CONNECT = "UDP-CONNECT"
    SCTP = "SCTP"


class HttpMethod(StrEnum):
    """The request of a check."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    TRACE = "TRACE"
    OPTIONS = "OPTIONS"
    PATCH = "PATCH"
    CONNECT = "CONNECT"


class HttpVersion(StrEnum):
    """The version of HTTP in the request of a check."""

    HTTP_1_0 = "1.0"
    HTTP_1_1 = "1.1"


class PersistenceType(StrEnum):
    """By what clients are known again."""

    SOURCE_IP = "SOURCE_IP"
    HTTP_COOKIE = "HTTP_COOKIE"
    APP_COOKIE = "APP_COOKIE"


class ProxyV2Option(StrEnum):
    """What the PROXY protocol, version 2, tells members besides addresses."""

    SSL = "ssl"
    CERT_CN = "cert-cn"
    SSL_CIPHER = "ssl-cipher"
    CERT_SIG = "cert-sig"
    CERT_KEY = "cert-key"
    AUTHORITY = "authority"
    CRC32C = "crc32c"
    UNIQUE_ID = "unique-id"


class PoolTls(Part, frozen=True, kw_only=True):
    """How members are spoken to over TLS.

    Attributes:
        certificate, ca, crl: names of certificates.
    """

    certificate: CertificateName | None = None
    ca: CertificateName | None = None
    crl: CertificateName | None = None
    ciphers: CipherList | None = None
    versions: Annotated[tuple[TlsVersion, ...], Meta(min_length=1)] | None = None
    alpn: tuple[AlpnProtocol, ...] | None = None
    profile: TlsProfile | None = None


class Member(Part, frozen=True, kw_only=True):
    """A server of a pool.

    Attributes:
        backup: takes connections only when no other member can.
        connection_limit: more wait in the pool's queue.
    """

    id: ObjectId
    address: Address
    port: Port
    weight: Annotated[int, Meta(ge=0, le=256)] = 1
    enabled: bool = True
    backup: bool = False
    monitor_address: Address | None = None
    monitor_port: Port | None = None
    connection_limit: Count | None = None


class HealthMonitor(Part, frozen=True, kw_only=True):
    """How and how often members are checked.

    Attributes:
        url_path: `/` if it is left out.
        expected_codes: 200 if they are left out.
        domain_name: for the Host header of HTTP/1.1.
    """

    type: MonitorType
    delay_s: Seconds = 5
    timeout_s: Seconds = 3
    fall_threshold: Threshold = 3
    rise_threshold: Threshold = 3
    enabled: bool = True
    http_method: HttpMethod = HttpMethod.GET
    url_path: Url | None = None
    expected_codes: StatusCodes | None = None
    http_version: HttpVersion | None = None
    domain_name: DomainName | None = None

    @property
    def path(self) -> str:
        """What is asked for."""
        return self.url_path or "/"

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes of good answers, in ascending order."""
        return (self.expected_codes or StatusCodes("200")).codes


class SessionPersistence(Part, frozen=True, kw_only=True):
    """Clients come back to the member that they had.

    Attributes:
        cookie_name: for APP_COOKIE.
        timeout_s, granularity: for SOURCE_IP of UDP and SCTP.
    """

    type: PersistenceType
    cookie_name: Token | None = None
    timeout_s: Seconds | None = None
    granularity: Granularity | None = None


class Pool(Part, frozen=True, kw_only=True):
    """Members that take a listener's connections.

    Attributes:
        slow_start_s: how long the load of a member that came up grows.
        queue_limit: how many connections may wait for one member.
        queue_timeout_ms: how long each may wait.
        proxy_v2_options: for PROXYV2.
    """

    id: ObjectId
    protocol: Protocol
    algorithm: Algorithm = Algorithm.ROUND_ROBIN
    enabled: bool = True
    members: tuple[Member, ...] = ()
    health_monitor: HealthMonitor | None = None
    session_persistence: SessionPersistence | None = None
    tls: PoolTls | None = None
    slow_start_s: Seconds | None = None
    queue_limit: Count | None = None
    queue_timeout_ms: Milliseconds | None = None
    proxy_v2_options: tuple[ProxyV2Option, ...] = ()
