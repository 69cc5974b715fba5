# SPDX-License-Identifier: Apache-2.0
"""Documents of API 2.0 as plain JSON, small ones that are right."""

import copy
import json
import uuid
from typing import Any

Document = dict[str, Any]

LB_ID = str(uuid.UUID(int=0x20, version=4))
VIP = "127.0.0.1"


def object_id(number: int) -> str:
    """A UUID that is always the same."""
    return str(uuid.UUID(int=0x2000 + number, version=4))


def member(number: int, port: int, **more: Any) -> Document:
    """A member on loopback."""
    return {"id": object_id(300 + number), "address": "127.0.0.1", "port": port, **more}


def http(*members: Document, lb_id: str = LB_ID, port: int = 8080) -> Document:
    """One HTTP listener on loopback with one pool."""
    return {
        "id": lb_id,
        "vip": {"address": VIP, "subnet": "127.0.0.0/8"},
        "listeners": [
            {
                "id": object_id(1),
                "protocol": "HTTP",
                "port": port,
                "default_pool": object_id(2),
                # Without one haproxy asks for more files than may be open where tests run.
                "connection_limit": 1000,
                "timeout_client_data_ms": 10_000,
            }
        ],
        "pools": [{"id": object_id(2), "protocol": "HTTP", "members": list(members)}],
    }


def with_tls(document: Document, pem: str, name: str = "front") -> Document:
    """The same with TLS on its listener."""
    changed = copy.deepcopy(document)
    changed["listeners"][0] |= {"protocol": "TERMINATED_HTTPS", "tls": {"certificates": [name]}}
    changed["certificates"] = [{"name": name, "pem": pem}]
    return changed


def encoded(document: Document) -> bytes:
    """The body of a request."""
    return json.dumps(document).encode()
