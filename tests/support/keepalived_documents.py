# SPDX-License-Identifier: Apache-2.0
"""Documents with UDP and SCTP listeners and pairs of amphorae, made up from a seed."""

import json
import random
import uuid
from typing import Any

import msgspec

from amphora_agent.balancer import values
from amphora_agent.balancer.document import LoadBalancer

Part = dict[str, Any]

_MONITORS = {"UDP": ("UDP-CONNECT", "TCP", "HTTP"), "SCTP": ("SCTP", "TCP", "HTTP")}
_ALGORITHMS = ("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP")
_CODES = ("200", "200,202", "200-204", "200,301-302,404")


def decode(part: Part) -> LoadBalancer:
    """A document from its JSON."""
    return msgspec.json.decode(json.dumps(part), type=LoadBalancer, dec_hook=values.decode)


def spelled_out(document: LoadBalancer) -> Part:
    """Its JSON with every field."""
    made: Part = msgspec.to_builtins(document, enc_hook=values.encode)
    return made


class Maker:
    """Makes documents of what Octavia can express.

    Args:
        beyond: of what it cannot, too.
    """

    def __init__(self, seed: int, *, beyond: bool = False) -> None:
        self._random = random.Random(seed)
        self._beyond = beyond

    def document(self) -> Part:
        """Another document."""
        versions = self._random.choice(((4,), (6,), (4, 6), (6, 4)))
        vips = [self._vip(versions[0], 0)] + [
            self._vip(self._random.choice(versions), number)
            for number in range(1, self._random.randrange(1, 5))
        ]
        protocol = self._random.choice(("UDP", "SCTP"))
        pools = [self._pool(protocol, versions) for _ in range(self._random.randrange(3))]
        made: Part = {
            "id": self._id(),
            "enabled": self._mostly(),
            "vip": vips[0],
            "additional_vips": vips[1:],
            "listeners": [
                self._listener(protocol, pools) for _ in range(self._random.randrange(1, 4))
            ],
            "pools": pools,
        }
        if self._mostly():
            made |= {
                "topology": "ACTIVE_STANDBY",
                "amphorae": self._amphorae(versions[0]),
                "vrrp": self._vrrp(),
            }
        if self._beyond:
            made["listeners"].append({"id": self._id(), "protocol": "HTTP", "port": 80})
        return made

    def _vip(self, version: int, number: int) -> Part:
        prefix = f"198.51.{100 + number}." if version == 4 else f"2001:db8:{number:x}::"
        made: Part = {
            "address": f"{prefix}{self._random.randrange(10, 99)}",
            "subnet": f"{prefix}0/24" if version == 4 else f"{prefix}/64",
            "host_routes": [
                {
                    "destination": f"203.0.{route}.0/24" if version == 4 else f"fd00:{route}::/48",
                    "nexthop": f"{prefix}{2 + route}",
                }
                for route in range(self._random.randrange(3))
            ],
        }
        if self._mostly():
            made["gateway"] = f"{prefix}1"
        return made

    def _amphorae(self, version: int) -> list[Part]:
        prefix = "198.51.100." if version == 4 else "2001:db8:0::"
        pair: list[Part] = [
            {"id": self._id(), "vrrp_ip": f"{prefix}4", "role": "MASTER"},
            {"id": self._id(), "vrrp_ip": f"{prefix}5", "role": "BACKUP"},
        ]
        if self._seldom():
            for amphora in pair:
                amphora["priority"] = self._random.randrange(1, 255)
        # While the other one is rebuilt it is alone.
        return pair if self._mostly() else pair[:1]

    def _vrrp(self) -> Part:
        made: Part = {
            "advert_interval_ms": self._random.choice((1000, 1000, 2000, 40_000)),
            "authentication": f"{self._random.randrange(16**7):07x}",
            "check_interval_s": self._random.randrange(1, 11),
            "check_fall": self._random.randrange(1, 4),
            "check_rise": self._random.randrange(1, 4),
            "garp_refresh_interval_s": self._random.randrange(10),
            "garp_refresh_count": self._random.randrange(1, 4),
        }
        if self._beyond:
            made |= {"track_process": self._seldom()}
            if self._seldom():
                made |= {
                    "version": 3,
                    "advert_interval_ms": 10 * self._random.randrange(1, 4001),
                }
            if self._seldom():
                made["bfd"] = {
                    "interval_ms": self._random.randrange(10, 1000),
                    "multiplier": self._random.randrange(2, 10),
                }
        return made

    def _listener(self, protocol: str, pools: list[Part]) -> Part:
        made: Part = {
            "id": self._id(),
            "protocol": protocol,
            "port": self._random.randrange(1, 65536),
            "enabled": self._mostly(),
            "connection_limit": self._random.choice((-1, 0, 1, 5000, 1_000_000)),
        }
        if pools and self._mostly():
            made["default_pool"] = self._random.choice(pools)["id"]
        return made

    def _pool(self, protocol: str, versions: tuple[int, ...]) -> Part:
        made: Part = {
            "id": self._id(),
            "protocol": protocol,
            "algorithm": self._random.choice(_ALGORITHMS),
            "enabled": self._mostly(),
            "members": [
                self._member(self._random.choice(versions), number)
                for number in range(self._random.randrange(5))
            ],
        }
        if self._often():
            made["health_monitor"] = self._monitor(protocol)
        if self._often():
            made["session_persistence"] = self._persistence(versions)
        return made

    def _member(self, version: int, number: int) -> Part:
        prefix = "192.0.2." if version == 4 else "2001:db8:ffff::"
        made: Part = {
            "id": self._id(),
            "address": f"{prefix}{10 + number}",
            "port": self._random.randrange(1, 65536),
            "weight": self._random.randrange(257),
            "enabled": self._mostly(),
        }
        if self._seldom():
            made["monitor_address"] = self._random.choice(("192.0.2.99", "2001:db8:ffff::99"))
        if self._seldom():
            made["monitor_port"] = self._random.randrange(1, 65536)
        return made

    def _monitor(self, protocol: str) -> Part:
        made: Part = {
            "type": self._random.choice(_MONITORS[protocol]),
            "delay_s": self._random.randrange(1, 60),
            "timeout_s": self._random.randrange(1, 60),
            "fall_threshold": self._random.randrange(1, 11),
            "rise_threshold": self._random.randrange(1, 11),
            "enabled": self._mostly(),
        }
        if made["type"] == "HTTP":
            made |= {
                "http_method": self._random.choice(("GET", "GET", "HEAD")),
                "expected_codes": self._random.choice(_CODES),
            }
            if self._mostly():
                made["url_path"] = self._random.choice(("/", "/healthz", "/a/b%20c.html?x=1;y=~2"))
            if self._beyond and self._often():
                made |= {"http_version": "1.1", "domain_name": "www.example.org"}
        return made

    def _persistence(self, versions: tuple[int, ...]) -> Part:
        made: Part = {"type": self._random.choice(("SOURCE_IP", "SOURCE_IP", "HTTP_COOKIE"))}
        if self._often():
            made["timeout_s"] = self._random.randrange(1, 3600)
        # What Octavia renders for both families is right for one of them only.
        if self._often() and (self._beyond or len(set(versions)) == 1):
            granularities = {4: ("255.255.255.0", "255.255.0.0"), 6: ("64", "96")}
            made["granularity"] = self._random.choice(granularities[versions[0]])
        return made

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _mostly(self) -> bool:
        return self._random.random() < 0.85

    def _often(self) -> bool:
        return self._random.random() < 0.6

    def _seldom(self) -> bool:
        return self._random.random() < 0.25
