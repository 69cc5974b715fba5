# SPDX-License-Identifier: Apache-2.0
"""Versions, ciphers and ALPN of a listener or a pool as words of haproxy.

Profiles follow Mozilla's "Server Side TLS" guideline, version 5.7.
"""

from collections.abc import Iterator
from typing import TypeVar

from amphora_agent.balancer.listener import ListenerTls
from amphora_agent.balancer.parts import AlpnProtocol, TlsProfile, TlsVersion
from amphora_agent.balancer.pool import PoolTls

_Value = TypeVar("_Value")

# Names of ciphers of TLS 1.3 begin so (RFC 8446, appendix B.4), and those of older ones do not.
_SUITE = "TLS_"

_SWITCHES = {
    TlsVersion.SSLV3: "no-sslv3",
    TlsVersion.TLSV1: "no-tlsv10",
    TlsVersion.TLSV1_1: "no-tlsv11",
    TlsVersion.TLSV1_2: "no-tlsv12",
    TlsVersion.TLSV1_3: "no-tlsv13",
}
_VERSIONS = {
    TlsProfile.MODERN: (TlsVersion.TLSV1_3,),
    TlsProfile.INTERMEDIATE: (TlsVersion.TLSV1_2, TlsVersion.TLSV1_3),
}
_SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_CIPHERS = {
    TlsProfile.MODERN: _SUITES,
    TlsProfile.INTERMEDIATE: ":".join(
        (
            *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
            *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
            *("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"),
            *("DHE-RSA-CHACHA20-POLY1305", _SUITES),
        )
    ),
}
# With a profile HTTP/2 is offered wherever clients or members speak it.
_ALPN = (AlpnProtocol.HTTP_2, AlpnProtocol.HTTP_1_1)


def ciphers_and_versions(tls: ListenerTls | PoolTls) -> Iterator[str]:
    """Words for ciphers and for the versions that are not to be spoken.

    Octavia gives ciphers as one list for all versions, haproxy takes those of TLS 1.3 apart. For
    versions that are not spoken there are none.
    """
    versions = _profiled(tls.versions, tls, _VERSIONS)
    # The modern profile names suites alone, and the order of a profile is its preference.
    ciphers = tls.ciphers if tls.ciphers is not None else _profiled(None, tls, _CIPHERS)
    if ciphers is not None:
        names = ciphers.split(":")
        if tls.ciphers is not None:
            names = sorted(set(names))
        suites = [name for name in names if name.startswith(_SUITE)]
        older = [name for name in names if not name.startswith(_SUITE)]
        if older and (versions is None or set(versions) - {TlsVersion.TLSV1_3}):
            yield from ("ciphers", ":".join(older))
        if suites and (versions is None or TlsVersion.TLSV1_3 in versions):
            yield from ("ciphersuites", ":".join(suites))
    if versions is not None:
        yield from (switch for version, switch in _SWITCHES.items() if version not in versions)


def alpn(tls: ListenerTls | PoolTls) -> str | None:
    """The protocols that are offered, with commas between them.

    None leaves it to haproxy: up to 2.7 it offers none, later ones HTTP/2 where the mode is http.
    """
    protocols = tls.alpn
    if protocols is None and tls.profile is not None:
        protocols = _ALPN
    return None if protocols is None else ",".join(protocols)


def _profiled(
    given: _Value | None, tls: ListenerTls | PoolTls, profiles: dict[TlsProfile, _Value]
) -> _Value | None:
    """What is given, else what the profile says, if there is one."""
    if given is None and tls.profile is not None:
        return profiles[tls.profile]
    return given
