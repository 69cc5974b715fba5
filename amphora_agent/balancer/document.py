# SPDX-License-Identifier: Apache-2.0
"""The document that describes a load balancer: what API 2.0 takes, keeps and renders.

Names and values are those of Octavia's API for users where it has them. Times carry their unit in
the name. A part that is left out means what Octavia's default means; the parts that go beyond
Octavia's are off unless they are there.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from amphora_agent.balancer.values import (
    Address,
    CertificateName,
    CipherList,
    DomainName,
    Granularity,
    Network,
    ObjectId,
    ProjectId,
    Sha256,
    StatusCodes,
    Text,
    Token,
    Url,
    VrrpPassword,
)
from amphora_agent.models import Topology

_Port = Annotated[int, Meta(ge=1, le=65535)]
_Seconds = Annotated[int, Meta(ge=1, le=86_400)]
_Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Threshold = Annotated[int, Meta(ge=1, le=100)]


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


class PolicyAction(StrEnum):
    """What a policy does with a request that its rules match."""

    REJECT = "REJECT"
    REDIRECT_TO_URL = "REDIRECT_TO_URL"
    REDIRECT_TO_POOL = "REDIRECT_TO_POOL"
    REDIRECT_PREFIX = "REDIRECT_PREFIX"


class RuleType(StrEnum):
    """What a rule looks at."""

    HOST_NAME = "HOST_NAME"
    PATH = "PATH"
    FILE_TYPE = "FILE_TYPE"
    HEADER = "HEADER"
    COOKIE = "COOKIE"
    SSL_CONN_HAS_CERT = "SSL_CONN_HAS_CERT"
    SSL_VERIFY_RESULT = "SSL_VERIFY_RESULT"
    SSL_DN_FIELD = "SSL_DN_FIELD"


class CompareType(StrEnum):
    """How a rule compares."""

    REGEX = "REGEX"
    STARTS_WITH = "STARTS_WITH"
    ENDS_WITH = "ENDS_WITH"
    CONTAINS = "CONTAINS"
    EQUAL_TO = "EQUAL_TO"


class ClientAuthentication(StrEnum):
    """Whether clients must show a certificate."""

    NONE = "NONE"
    OPTIONAL = "OPTIONAL"
    MANDATORY = "MANDATORY"


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


class InsertHeader(StrEnum):
    """A header that members get to see."""

    FORWARDED_FOR = "X-Forwarded-For"
    FORWARDED_PORT = "X-Forwarded-Port"
    FORWARDED_PROTO = "X-Forwarded-Proto"
    CLIENT_VERIFY = "X-SSL-Client-Verify"
    CLIENT_HAS_CERT = "X-SSL-Client-Has-Cert"
    CLIENT_DN = "X-SSL-Client-DN"
    CLIENT_CN = "X-SSL-Client-CN"
    ISSUER = "X-SSL-Issuer"
    CLIENT_SHA1 = "X-SSL-Client-SHA1"
    CLIENT_NOT_BEFORE = "X-SSL-Client-Not-Before"
    CLIENT_NOT_AFTER = "X-SSL-Client-Not-After"


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


class Role(StrEnum):
    """Which amphora of a pair holds the VIP when both can."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the document."""


class Certificate(_Part, frozen=True, kw_only=True):
    """A PEM file: a certificate with its key and intermediates, CA certificates, or a CRL.

    Attributes:
        name: by which other parts name it.
        pem: the content; left out for one that the amphora has already.
        sha256: of the content, in hexadecimal; told in answers, where `pem` never is. With `pem`
            left out it says which content is meant.
    """

    name: CertificateName
    pem: str | None = None
    sha256: Sha256 | None = None

    def __repr__(self) -> str:
        return f"Certificate(name={str(self.name)!r})"


class Route(_Part, frozen=True, kw_only=True):
    """A route that Neutron gives to the hosts of a subnet."""

    destination: Network
    nexthop: Address


class Vip(_Part, frozen=True, kw_only=True):
    """A virtual IP address with the subnet it lies in."""

    address: Address
    subnet: Network
    gateway: Address | None = None
    host_routes: tuple[Route, ...] = ()


class Amphora(_Part, frozen=True, kw_only=True):
    """One of the amphorae that serve the load balancer.

    Attributes:
        vrrp_ip: the address of its own on the VIP's network.
    """

    id: ObjectId
    vrrp_ip: Address
    role: Role = Role.MASTER
    priority: Annotated[int, Meta(ge=1, le=254)] | None = None


class Bfd(_Part, frozen=True, kw_only=True):
    """Detection of a dead peer by BFD between the amphorae of a pair."""

    interval_ms: Annotated[int, Meta(ge=10, le=10_000)] = 100
    multiplier: Annotated[int, Meta(ge=2, le=50)] = 5


class VrrpGroup(_Part, frozen=True, kw_only=True):
    """How the amphorae of a pair agree on who holds the VIP.

    Attributes:
        advert_interval_ms: whole seconds, unless `version` is 3.
        authentication: password of VRRP version 2.
        track_process: also watch haproxy's process, which the kernel tells at once.
    """

    version: Annotated[int, Meta(ge=2, le=3)] = 2
    advert_interval_ms: Annotated[int, Meta(ge=10, le=40_000)] = 1000
    authentication: VrrpPassword | None = None
    check_interval_s: _Seconds = 5
    check_fall: _Threshold = 2
    check_rise: _Threshold = 2
    garp_refresh_interval_s: Annotated[int, Meta(ge=0, le=86_400)] = 5
    garp_refresh_count: Annotated[int, Meta(ge=1, le=100)] = 2
    track_process: bool = False
    bfd: Bfd | None = None


class Hsts(_Part, frozen=True, kw_only=True):
    """HTTP Strict Transport Security (RFC 6797)."""

    max_age_s: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    include_subdomains: bool = False
    preload: bool = False


class ListenerTls(_Part, frozen=True, kw_only=True):
    """How a listener terminates TLS.

    Attributes:
        certificates: the default one first, then those that clients ask for by name (SNI).
        client_ca, client_crl: names of certificates.
        profile: sets versions and ciphers unless they are given.
    """

    certificates: Annotated[tuple[CertificateName, ...], Meta(min_length=1)]
    client_authentication: ClientAuthentication = ClientAuthentication.NONE
    client_ca: CertificateName | None = None
    client_crl: CertificateName | None = None
    ciphers: CipherList | None = None
    versions: Annotated[tuple[TlsVersion, ...], Meta(min_length=1)] | None = None
    alpn: tuple[AlpnProtocol, ...] | None = None
    hsts: Hsts | None = None
    profile: TlsProfile | None = None


class PoolTls(_Part, frozen=True, kw_only=True):
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


class Member(_Part, frozen=True, kw_only=True):
    """A server of a pool.

    Attributes:
        backup: takes connections only when no other member can.
        connection_limit: more wait in the pool's queue.
    """

    id: ObjectId
    address: Address
    port: _Port
    weight: Annotated[int, Meta(ge=0, le=256)] = 1
    enabled: bool = True
    backup: bool = False
    monitor_address: Address | None = None
    monitor_port: _Port | None = None
    connection_limit: _Count | None = None


class HealthMonitor(_Part, frozen=True, kw_only=True):
    """How and how often members are checked.

    Attributes:
        url_path: `/` if it is left out.
        expected_codes: 200 if they are left out.
        domain_name: for the Host header of HTTP/1.1.
    """

    type: MonitorType
    delay_s: _Seconds = 5
    timeout_s: _Seconds = 3
    fall_threshold: _Threshold = 3
    rise_threshold: _Threshold = 3
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


class SessionPersistence(_Part, frozen=True, kw_only=True):
    """Clients come back to the member that they had.

    Attributes:
        cookie_name: for APP_COOKIE.
        timeout_s, granularity: for SOURCE_IP of UDP and SCTP.
    """

    type: PersistenceType
    cookie_name: Token | None = None
    timeout_s: _Seconds | None = None
    granularity: Granularity | None = None


class Pool(_Part, frozen=True, kw_only=True):
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
    slow_start_s: _Seconds | None = None
    queue_limit: _Count | None = None
    queue_timeout_ms: _Milliseconds | None = None
    proxy_v2_options: tuple[ProxyV2Option, ...] = ()


class Rule(_Part, frozen=True, kw_only=True):
    """A condition on a request.

    Attributes:
        key: of a header, a cookie, or a distinguished name.
    """

    id: ObjectId
    type: RuleType
    compare_type: CompareType = CompareType.EQUAL_TO
    key: Token | None = None
    value: Text
    invert: bool = False
    enabled: bool = True


class Policy(_Part, frozen=True, kw_only=True):
    """What is done with a request that all of the rules match."""

    id: ObjectId
    action: PolicyAction
    rules: tuple[Rule, ...] = ()
    enabled: bool = True
    redirect_url: Url | None = None
    redirect_prefix: Url | None = None
    redirect_pool: ObjectId | None = None
    redirect_http_code: int | None = None


class RateLimit(_Part, frozen=True, kw_only=True):
    """What one client, known by its address, may do; more is refused.

    Attributes:
        connections: at once.
        connections_per_10s, requests_per_10s: begun within ten seconds; requests of HTTP only.
    """

    connections: _Count | None = None
    connections_per_10s: _Count | None = None
    requests_per_10s: _Count | None = None


class Listener(_Part, frozen=True, kw_only=True):
    """A port on which connections are taken.

    Attributes:
        connection_limit: at once; -1 for the default.
        default_pool: id of a pool.
        allowed_cidrs: who may connect; empty for everybody.
        accept_proxy: clients speak the PROXY protocol first.
        compression: answers of text are compressed where clients take it.
    """

    id: ObjectId
    protocol: Protocol
    port: _Port
    enabled: bool = True
    connection_limit: Annotated[int, Meta(ge=-1, le=1_000_000)] = -1
    default_pool: ObjectId | None = None
    insert_headers: tuple[InsertHeader, ...] = ()
    allowed_cidrs: tuple[Network, ...] = ()
    timeout_client_data_ms: _Milliseconds = 50_000
    timeout_member_connect_ms: _Milliseconds = 5_000
    timeout_member_data_ms: _Milliseconds = 50_000
    timeout_tcp_inspect_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 0
    tls: ListenerTls | None = None
    policies: tuple[Policy, ...] = ()
    rate_limit: RateLimit | None = None
    accept_proxy: bool = False
    compression: bool = False

    @property
    def pool_ids(self) -> tuple[ObjectId, ...]:
        """The pools that it uses, each once, the default one first."""
        redirects = (policy.redirect_pool for policy in self.policies)
        used = (self.default_pool, *redirects)
        return tuple(dict.fromkeys(pool_id for pool_id in used if pool_id is not None))


class Tuning(_Part, frozen=True, kw_only=True):
    """What holds for all of haproxy.

    Attributes:
        stick_table_size: entries of each table of persistent sessions.
        max_old_workers: how many may linger after reloads; the oldest is ended.
        hard_stop_after_s: how long one may linger.
    """

    connection_logging: bool = True
    stick_table_size: _Count = 10_240
    max_old_workers: Annotated[int, Meta(ge=1, le=100)] | None = None
    hard_stop_after_s: _Seconds | None = None


class LoadBalancer(_Part, frozen=True, kw_only=True):
    """The whole document.

    Attributes:
        amphorae: all of them, this one included; for ACTIVE_STANDBY only.
        sriov: the VIP's NIC is out of Neutron's firewall, so that the amphora needs its own.
    """

    id: ObjectId
    vip: Vip
    additional_vips: tuple[Vip, ...] = ()
    project_id: ProjectId | None = None
    enabled: bool = True
    topology: Topology = Topology.SINGLE
    sriov: bool = False
    amphorae: tuple[Amphora, ...] = ()
    vrrp: VrrpGroup | None = None
    listeners: tuple[Listener, ...] = ()
    pools: tuple[Pool, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    tuning: Tuning = Tuning()

    @property
    def vips(self) -> tuple[Vip, ...]:
        """The primary VIP, then the others in the order of their addresses' text."""
        return (self.vip, *sorted(self.additional_vips, key=lambda vip: vip.address))

    def pool(self, pool_id: str) -> Pool:
        """The pool of an id.

        Raises:
            KeyError: there is none.
        """
        for pool in self.pools:
            if pool.id == pool_id:
                return pool
        raise KeyError(pool_id)
