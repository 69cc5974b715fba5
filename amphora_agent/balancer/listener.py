# SPDX-License-Identifier: Apache-2.0
"""Listeners of a document, with their TLS, policies and limits."""

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
    TlsProfile,
    TlsVersion,
)
from amphora_agent.balancer.values import (
    CertificateName,
    CipherList,
    Network,
    ObjectId,
    Text,
    Token,
    Url,
)


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


class Hsts(Part, frozen=True, kw_only=True):
    """HTTP Strict Transport Security (RFC 6797)."""

    max_age_s: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    include_subdomains: bool = False
    preload: bool = False


class ListenerTls(Part, frozen=True, kw_only=True):
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


class Rule(Part, frozen=True, kw_only=True):
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


class Policy(Part, frozen=True, kw_only=True):
    """What is done with a request that all of the rules match."""

    id: ObjectId
    action: PolicyAction
    rules: tuple[Rule, ...] = ()
    enabled: bool = True
    redirect_url: Url | None = None
    redirect_prefix: Url | None = None
    redirect_pool: ObjectId | None = None
    redirect_http_code: int | None = None


class RateLimit(Part, frozen=True, kw_only=True):
    """What one client, known by its address, may do; more is refused.

    Attributes:
        connections: at once.
        connections_per_10s, requests_per_10s: begun within ten seconds; requests of HTTP only.
    """

    connections: Count | None = None
    connections_per_10s: Count | None = None
    requests_per_10s: Count | None = None


class Listener(Part, frozen=True, kw_only=True):
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
    port: Port
    enabled: bool = True
    connection_limit: Annotated[int, Meta(ge=-1, le=1_000_000)] = -1
    default_pool: ObjectId | None = None
    insert_headers: tuple[InsertHeader, ...] = ()
    allowed_cidrs: tuple[Network, ...] = ()
    timeout_client_data_ms: Milliseconds = 50_000
    timeout_member_connect_ms: Milliseconds = 5_000
    timeout_member_data_ms: Milliseconds = 50_000
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
