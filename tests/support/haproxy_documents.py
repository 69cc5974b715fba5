# SPDX-License-Identifier: Apache-2.0
"""Documents with HTTP, HTTPS, TCP and PROMETHEUS listeners, made up from a seed."""

import random
import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

Part = dict[str, Any]
T = TypeVar("T")

CERTIFICATES = ("one", "two", "ca", "crl")
_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_OLDER = (
    *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    *("ECDHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384"),
)
_VERSIONS = (("TLSv1.2",), ("TLSv1.3",), ("TLSv1.2", "TLSv1.3"), ("TLSv1", "TLSv1.1", "TLSv1.2"))
_ALPN = (("http/1.1",), ("h2", "http/1.1"), ("http/1.1", "http/1.0"))
_HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto")
_SSL_HEADERS = (
    *("X-SSL-Client-Verify", "X-SSL-Client-Has-Cert", "X-SSL-Client-DN", "X-SSL-Client-CN"),
    *("X-SSL-Issuer", "X-SSL-Client-SHA1", "X-SSL-Client-Not-Before", "X-SSL-Client-Not-After"),
)
_COMPARES = ("REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO")
_PLAIN_RULES = ("HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE")
_CLIENT_RULES = ("SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT", "SSL_DN_FIELD")
_TEXTS = ("/a", "a b", "x\\d+", "example.com", "it's", 'q"uote', "#no-comment", "$HOME", "{ }", "é")
_URLS = ("https://example.com/", "/elsewhere?a=b&c=d", "http://example.com/a#b", "/it's")
_CODES = ("200", "200,202", "200-204", "200,301-302,404")
_POOLS = {
    "HTTP": ("HTTP", "PROXY", "PROXYV2"),
    "TERMINATED_HTTPS": ("HTTP", "PROXY", "PROXYV2"),
    "HTTPS": ("HTTPS", "PROXY", "PROXYV2", "TCP"),
    "TCP": ("HTTPS", "PROXY", "PROXYV2", "TCP"),
}


def certificates() -> list[Part]:
    """What the documents' parts name."""
    return [{"name": name, "pem": _PEM} for name in CERTIFICATES]


class Maker:
    """Makes valid documents.

    Args:
        beyond: of what Octavia cannot express, too.
        hard: quotes and `#` in some values; what Octavia renders of them is broken
            (docs/rendering.md).
    """

    def __init__(self, seed: int, *, beyond: bool = False, hard: bool = True) -> None:
        self._random = random.Random(seed)
        self._beyond = beyond
        self._hard = hard

    def document(self) -> Part:
        """Another document."""
        versions = self._random.choice(((4,), (6,), (4, 6), (6, 4)))
        vips = [self._vip(version, number) for number, version in enumerate(versions)]
        is_pair = self._rarely()
        pools: list[Part] = []
        listeners = [
            self._listener(1000 + number, pools, versions[0])
            for number in range(self._random.randint(1, 4))
        ]
        made: Part = {
            "id": self._id(),
            "project_id": "0123456789abcdef0123456789abcdef",
            "enabled": self._mostly(),
            "vip": vips[0],
            "additional_vips": vips[1:],
            "listeners": listeners,
            "pools": pools,
            "certificates": certificates(),
            "tuning": {"connection_logging": self._mostly()},
        }
        if is_pair:
            made |= {"topology": "ACTIVE_STANDBY", "vrrp": {}, "amphorae": self._pair(versions[0])}
        if self._beyond:
            made["tuning"] |= {"max_old_workers": 3, "hard_stop_after_s": 60}
        return made

    def _pair(self, version: int) -> list[Part]:
        addresses = ("192.0.2.11", "192.0.2.12") if version == 4 else ("2001:db8::b", "2001:db8::c")
        roles = ("MASTER", "BACKUP")
        count = self._random.randint(1, 2)
        return [
            {"id": self._id(), "vrrp_ip": address, "role": role}
            for address, role in list(zip(addresses, roles, strict=True))[:count]
        ]

    def _vip(self, version: int, number: int) -> Part:
        if version == 4:
            return {"address": f"192.0.2.{100 + number}", "subnet": "192.0.2.0/24"}
        return {"address": f"2001:db8::{100 + number}", "subnet": "2001:db8::/64"}

    def _listener(self, port: int, pools: list[Part], version: int) -> Part:
        protocol = self._one(("HTTP", "TERMINATED_HTTPS", "HTTPS", "TCP", "PROMETHEUS"))
        made: Part = {
            "id": self._id(),
            "protocol": protocol,
            "port": port,
            "enabled": self._mostly(),
            "connection_limit": self._one((-1, 1, 2000, 1_000_000)),
            "timeout_client_data_ms": self._random.randint(1, 10**5),
            "timeout_member_connect_ms": self._random.randint(1, 10**5),
            "timeout_member_data_ms": self._random.randint(1, 10**5),
            "timeout_tcp_inspect_ms": self._one((0, 100)),
        }
        if protocol == "TERMINATED_HTTPS" or (protocol == "PROMETHEUS" and self._rarely()):
            made["tls"] = self._listener_tls(protocol)
        if protocol == "PROMETHEUS":
            return made
        if self._mostly():
            made["default_pool"] = self._pool_for(protocol, pools)
        if protocol in ("HTTP", "TERMINATED_HTTPS"):
            headers = _HEADERS if protocol == "HTTP" else _HEADERS + _SSL_HEADERS
            made["insert_headers"] = self._some(headers)
            made["policies"] = [
                self._policy(made, pools) for _ in range(self._random.randint(0, 3))
            ]
        if self._beyond:
            made |= self._beyond_listener(protocol, version)
        return made

    def _beyond_listener(self, protocol: str, version: int) -> Part:
        network = "198.51.{}.0/24" if version == 4 else "2001:db8:{}::/48"
        is_http = protocol in ("HTTP", "TERMINATED_HTTPS")
        limit: Part = {"connections": 10, "connections_per_10s": 20}
        return {
            "allowed_cidrs": [network.format(number) for number in range(self._one((0, 3, 120)))],
            "rate_limit": limit | ({"requests_per_10s": 30} if is_http else {}),
            "accept_proxy": self._rarely(),
            "compression": is_http and self._rarely(),
        }

    def _listener_tls(self, protocol: str) -> Part:
        made = self._tls()
        made["certificates"] = self._one((["one"], ["one", "two"]))
        if self._rarely():
            made |= {
                "client_ca": "ca",
                "client_authentication": self._one(("NONE", "OPTIONAL", "MANDATORY")),
            }
            if self._rarely():
                made["client_crl"] = "crl"
        if protocol == "TERMINATED_HTTPS" and self._rarely():
            made["hsts"] = {
                "max_age_s": self._random.randint(0, 10**8),
                "include_subdomains": self._rarely(),
                "preload": self._rarely(),
            }
        return made

    def _tls(self) -> Part:
        """Ciphers, versions and ALPN, whether a listener's or a pool's."""
        made: Part = {}
        if self._beyond and self._rarely():
            return {"profile": self._one(("modern", "intermediate"))}
        if self._rarely():
            # Octavia cannot do without ciphers where it has versions.
            made["ciphers"] = ":".join([*self._some(_OLDER), *self._some(_SUITES)] or _OLDER)
            if self._rarely():
                made["versions"] = self._one(_VERSIONS)
        if self._rarely():
            made["alpn"] = self._one(_ALPN)
        return made

    def _policy(self, listener: Part, pools: list[Part]) -> Part:
        action = self._one(("REJECT", "REDIRECT_TO_URL", "REDIRECT_TO_POOL", "REDIRECT_PREFIX"))
        made: Part = {
            "id": self._id(),
            "action": action,
            "enabled": self._mostly(),
            "rules": [self._rule(listener) for _ in range(self._random.randint(0, 3))],
        }
        if action == "REDIRECT_TO_POOL":
            made["redirect_pool"] = self._pool_for(listener["protocol"], pools)
        elif action != "REJECT":
            field = "redirect_url" if action == "REDIRECT_TO_URL" else "redirect_prefix"
            made[field] = self._text(_URLS)
            if self._rarely():
                made["redirect_http_code"] = self._one((301, 302, 303, 307, 308))
        return made

    def _rule(self, listener: Part) -> Part:
        has_ca = "client_ca" in listener.get("tls", {})
        kind = self._one(_PLAIN_RULES + (_CLIENT_RULES if has_ca else ()))
        made: Part = {
            "id": self._id(),
            "type": kind,
            "compare_type": self._one(_COMPARES),
            "value": self._text(_TEXTS),
            "invert": self._rarely(),
            "enabled": self._mostly(),
        }
        if made["compare_type"] == "REGEX":
            made["value"] = self._one(("x\\d+", "^/a b$", "[a-z]{2}"))
        if kind in ("HEADER", "COOKIE", "SSL_DN_FIELD"):
            made["key"] = "CN" if kind == "SSL_DN_FIELD" else self._one(("X-A", "id_1"))
        if kind == "SSL_VERIFY_RESULT":
            made["value"] = "10"
        if kind == "SSL_CONN_HAS_CERT":
            made["value"] = "True"
        return made

    def _pool_for(self, protocol: str, pools: list[Part]) -> str:
        """The id of a pool that a listener can use, an old or a new one."""
        fitting = [
            pool
            for pool in pools
            if pool["protocol"] in _POOLS[protocol]
            # A cookie is for listeners of HTTP.
            and (
                protocol in ("HTTP", "TERMINATED_HTTPS")
                or "COOKIE" not in pool.get("session_persistence", {}).get("type", "")
            )
        ]
        if fitting and self._rarely():
            return str(self._one(fitting)["id"])
        pools.append(self._pool(protocol))
        return str(pools[-1]["id"])

    def _pool(self, listener_protocol: str) -> Part:
        protocol = self._one(_POOLS[listener_protocol])
        is_http = listener_protocol in ("HTTP", "TERMINATED_HTTPS")
        made: Part = {
            "id": self._id(),
            "protocol": protocol,
            "algorithm": self._one(("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP")),
            "enabled": self._mostly(),
            "members": [self._member(number) for number in range(self._random.randint(0, 4))],
        }
        if self._mostly():
            made["health_monitor"] = self._monitor()
        if self._rarely():
            kinds = ("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE") if is_http else ("SOURCE_IP",)
            made["session_persistence"] = {"type": self._one(kinds)}
            if made["session_persistence"]["type"] == "APP_COOKIE":
                made["session_persistence"]["cookie_name"] = "JSESSIONID"
        if self._rarely():
            made["tls"] = self._tls()
            if self._rarely():
                made["tls"]["certificate"] = "one"
            if self._rarely():
                made["tls"]["ca"] = "ca"
                if self._rarely():
                    made["tls"]["crl"] = "crl"
        if self._beyond:
            made |= {"slow_start_s": 30, "queue_limit": 100, "queue_timeout_ms": 5000}
            if protocol == "PROXYV2":
                made["proxy_v2_options"] = ["ssl", "cert-cn", "unique-id"]
        return made

    def _member(self, number: int) -> Part:
        address = self._one(("203.0.113.%d", "2001:db8:1::%d")) % (number + 1)
        made: Part = {
            "id": self._id(),
            "address": address,
            "port": self._random.randint(1, 65535),
            "weight": self._random.randint(0, 256),
            "enabled": self._mostly(),
            "backup": self._rarely(),
        }
        if self._rarely():
            made["monitor_address"] = "203.0.113.200"
        if self._rarely():
            made["monitor_port"] = self._random.randint(1, 65535)
        if self._beyond:
            made["connection_limit"] = 50
        return made

    def _monitor(self) -> Part:
        kind = self._one(("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO"))
        made: Part = {
            "type": kind,
            "delay_s": self._random.randint(5, 60),
            "timeout_s": self._random.randint(1, 5),
            "fall_threshold": self._random.randint(1, 10),
            "rise_threshold": self._random.randint(1, 10),
            "enabled": self._mostly(),
        }
        if kind in ("HTTP", "HTTPS"):
            made |= {
                "http_method": self._one(("GET", "HEAD", "POST")),
                "url_path": self._text(("/", "/health?a=b", "/it's")),
                "expected_codes": self._one(_CODES),
            }
            if self._rarely():
                made["http_version"] = self._one(("1.0", "1.1"))
                if made["http_version"] == "1.1" and self._rarely():
                    made["domain_name"] = "www.example.com"
        return made

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _text(self, values: Sequence[str]) -> str:
        return self._one([each for each in values if self._hard or not set(each) & set("'\"#")])

    def _one(self, values: Sequence[T]) -> T:
        return self._random.choice(values)

    def _some(self, values: Sequence[T]) -> list[T]:
        return [value for value in values if self._rarely()]

    def _mostly(self) -> bool:
        return self._random.random() < 0.8

    def _rarely(self) -> bool:
        return self._random.random() < 0.4
