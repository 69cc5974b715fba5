# SPDX-License-Identifier: Apache-2.0
"""What the parts of a listener ask of each other."""

from collections.abc import Collection, Iterator

from amphora_agent.balancer.faults import Fault, at
from amphora_agent.balancer.listener import (
    ClientAuthentication,
    InsertHeader,
    Listener,
    ListenerTls,
    Policy,
    PolicyAction,
    RateLimit,
    Rule,
    RuleType,
)
from amphora_agent.balancer.parts import LVS_PROTOCOLS, Protocol, TlsProfile, TlsVersion
from amphora_agent.balancer.pool import PoolTls

# Octavia's constants.py, VALID_LISTENER_POOL_PROTOCOL_MAP.
POOL_PROTOCOLS = {
    Protocol.TCP: (
        Protocol.HTTP,
        Protocol.HTTPS,
        Protocol.PROXY,
        Protocol.PROXYV2,
        Protocol.TCP,
    ),
    Protocol.HTTP: (Protocol.HTTP, Protocol.PROXY, Protocol.PROXYV2),
    Protocol.HTTPS: (Protocol.HTTPS, Protocol.PROXY, Protocol.PROXYV2, Protocol.TCP),
    Protocol.TERMINATED_HTTPS: (Protocol.HTTP, Protocol.PROXY, Protocol.PROXYV2),
    Protocol.PROMETHEUS: (),
    Protocol.UDP: (Protocol.UDP,),
    Protocol.SCTP: (Protocol.SCTP,),
    Protocol.PROXY: (),
    Protocol.PROXYV2: (),
}
_HTTP = frozenset({Protocol.HTTP, Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS})
_SSL_HEADERS = frozenset(header for header in InsertHeader if header.startswith("X-SSL-"))

# haproxy takes 64 words in a line, and all rules of a policy are in one.
_RULES_MAX = 50
_REDIRECT_CODES = (301, 302, 303, 307, 308)
# Other schemes, such as javascript:, are no place to send a client to.
_REDIRECT_STARTS = ("http://", "https://", "/")
_ARGUMENTS = {
    PolicyAction.REJECT: None,
    PolicyAction.REDIRECT_TO_URL: "redirect_url",
    PolicyAction.REDIRECT_TO_POOL: "redirect_pool",
    PolicyAction.REDIRECT_PREFIX: "redirect_prefix",
}
_WITH_KEY = frozenset({RuleType.HEADER, RuleType.COOKIE, RuleType.SSL_DN_FIELD})
_ABOUT_CLIENTS = frozenset(
    {RuleType.SSL_CONN_HAS_CERT, RuleType.SSL_VERIFY_RESULT, RuleType.SSL_DN_FIELD}
)


def faults(
    listener: Listener, certificates: Collection[str], families: Collection[int]
) -> Iterator[Fault]:
    """What is wrong with a listener, pools aside.

    Args:
        certificates: names of those that the document has.
        families: 4, 6 or both: those of the VIPs.
    """
    if listener.protocol in (Protocol.PROXY, Protocol.PROXYV2):
        yield "protocol", f"{listener.protocol} is for pools"
    if listener.connection_limit == 0:
        yield "connection_limit", "0 lets nobody in; -1 stands for the default"
    if listener.rate_limit == RateLimit():
        yield "rate_limit", "it limits nothing; leave it out"
    for number, network in enumerate(listener.allowed_cidrs):
        if network.version not in families:
            yield f"allowed_cidrs[{number}]", f"{network} is of another family than every VIP"
    yield from _tls_or_none(listener, certificates)
    yield from _http_only(listener)
    if listener.protocol in LVS_PROTOCOLS:
        yield from _lvs(listener)
    for number, policy in enumerate(listener.policies):
        yield from at(f"policies[{number}]", _policy(policy, listener))


def _tls_or_none(listener: Listener, certificates: Collection[str]) -> Iterator[Fault]:
    if listener.tls is None:
        if listener.protocol is Protocol.TERMINATED_HTTPS:
            yield "tls", "a listener of protocol TERMINATED_HTTPS needs it"
        return
    if listener.protocol not in (Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS):
        yield "tls", f"a listener of protocol {listener.protocol} does not terminate TLS"
    yield from at("tls", _tls(listener.tls, certificates))
    if listener.tls.hsts is not None and listener.protocol is not Protocol.TERMINATED_HTTPS:
        yield "tls.hsts", "only for protocol TERMINATED_HTTPS"


def _tls(tls: ListenerTls, certificates: Collection[str]) -> Iterator[Fault]:
    for number, name in enumerate(tls.certificates):
        if name not in certificates:
            yield f"certificates[{number}]", f"there is no certificate {name}"
    for field, named in (("client_ca", tls.client_ca), ("client_crl", tls.client_crl)):
        if named is not None and named not in certificates:
            yield field, f"there is no certificate {named}"
    if tls.client_authentication is not ClientAuthentication.NONE and tls.client_ca is None:
        yield "client_ca", f"client_authentication {tls.client_authentication} needs it"
    if tls.client_crl is not None and tls.client_ca is None:
        yield "client_ca", "client_crl needs it"
    yield from versions(tls)


def versions(tls: ListenerTls | PoolTls) -> Iterator[Fault]:
    """Versions of TLS that the profile does not have."""
    if tls.versions is None:
        return
    if len(set(tls.versions)) < len(tls.versions):
        yield "versions", "a version stands there twice"
    if tls.profile is TlsProfile.MODERN and set(tls.versions) != {TlsVersion.TLSV1_3}:
        yield "versions", "the modern profile has TLSv1.3 alone; leave one of both out"


def _http_only(listener: Listener) -> Iterator[Fault]:
    """Parts that work on requests."""
    if listener.protocol in _HTTP:
        for number, header in enumerate(listener.insert_headers):
            if header in _SSL_HEADERS and listener.protocol is not Protocol.TERMINATED_HTTPS:
                yield f"insert_headers[{number}]", "only for protocol TERMINATED_HTTPS"
        return
    reason = f"a listener of protocol {listener.protocol} does not look at requests"
    if listener.insert_headers:
        yield "insert_headers", reason
    if listener.policies:
        yield "policies", reason
    if listener.compression:
        yield "compression", reason
    if listener.rate_limit is not None and listener.rate_limit.requests_per_10s is not None:
        yield "rate_limit.requests_per_10s", reason


def _lvs(listener: Listener) -> Iterator[Fault]:
    reason = f"a listener of protocol {listener.protocol} has none"
    if listener.rate_limit is not None:
        yield "rate_limit", reason
    if listener.accept_proxy:
        yield "accept_proxy", reason


def _policy(policy: Policy, listener: Listener) -> Iterator[Fault]:
    needed = _ARGUMENTS[policy.action]
    for field in ("redirect_url", "redirect_prefix", "redirect_pool"):
        given = getattr(policy, field) is not None
        if field == needed and not given:
            yield field, f"action {policy.action} needs it"
        if field != needed and given:
            yield field, f"action {policy.action} has none"
    for field, url in (
        ("redirect_url", policy.redirect_url),
        ("redirect_prefix", policy.redirect_prefix),
    ):
        if url is not None and not url.lower().startswith(_REDIRECT_STARTS):
            yield field, f"one that begins with http://, https:// or /, not {str(url)!r}"
    code = policy.redirect_http_code
    if code is not None:
        if policy.action not in (PolicyAction.REDIRECT_TO_URL, PolicyAction.REDIRECT_PREFIX):
            yield "redirect_http_code", f"action {policy.action} has none"
        elif code not in _REDIRECT_CODES:
            yield "redirect_http_code", f"one of {', '.join(map(str, _REDIRECT_CODES))}, not {code}"
    if len(policy.rules) > _RULES_MAX:
        yield "rules", f"at most {_RULES_MAX}, not {len(policy.rules)}; make it several policies"
    for number, rule in enumerate(policy.rules):
        yield from at(f"rules[{number}]", _rule(rule, listener))


def _rule(rule: Rule, listener: Listener) -> Iterator[Fault]:
    if rule.type in _WITH_KEY and rule.key is None:
        yield "key", f"a rule of type {rule.type} needs it"
    if rule.type not in _WITH_KEY and rule.key is not None:
        yield "key", f"a rule of type {rule.type} has none"
    if rule.type in _ABOUT_CLIENTS and (listener.tls is None or listener.tls.client_ca is None):
        yield "type", f"{rule.type} needs a listener with tls.client_ca"
    if rule.type is RuleType.SSL_VERIFY_RESULT and not (
        rule.value.isascii() and rule.value.isdecimal()
    ):
        yield "value", f"a number of OpenSSL's (X509_V_ERR_*), not {str(rule.value)!r}"
