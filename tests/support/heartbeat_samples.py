# SPDX-License-Identifier: Apache-2.0
"""Ids, looks and messages that the unit tests of the heartbeat share."""

import hashlib
import hmac
import json
import uuid
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from amphora_agent import showstat
from amphora_agent.heartbeat import ledger as ledgers
from amphora_agent.heartbeat import message as messages
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.message import Message
from amphora_agent.heartbeat.observation import Listener, Observation, Traffic
from amphora_agent.showstat import Snapshot

GOLDEN = Path(__file__).parent.parent / "golden" / "showstat"
LISTENER = "1157e4e2-0000-4000-8000-00000000000"
POOL = "9001d000-0000-4000-8000-00000000000"
MEMBER = "3e3be200-0000-4000-8000-0000000000"
LB_ID = "10adba1a-0000-4000-8000-000000000001"
SOURCE = f"haproxy:{LB_ID}"
AMPHORA_ID = "a1b2c3d4-0000-4000-8000-000000000001"

# A datagram that Octavia 19.0.0 packed and opened, with the key `insecure`.
VECTOR_PACKED = bytes.fromhex(
    "78da9d8fc10ec2200c865f65e12c09db8892ddbdea2e3ec0c6485cdc86021a938577b765347af63f7cf46fdae66765"
    "e3c09a8275655fe97a905c80b8442884f8aa64bb8279f380f1fd01ca69f4c12cc67968acaccce20912a1c892d2a00f"
    "5d78e20e3bb7c753ba099ded4878c323a0e5a8d076597cae830dbfd6b89445c418c1ddad9db62355164f90084596d4"
    "fc11f7d262d8d9cc3dfdb9cee20912a1c8927073b185be1a7d635bd49771d0ade30737655c39"
)
VECTOR_SIGNATURE = b"6345eebffd4ac506090a9f4bfd45aa5b577cc070350535409dd2e6c57ff75457"
VECTOR_KEY = "insecure"
VECTOR_MESSAGE: Message = {
    "id": "a1b2c3d4-0000-4000-8000-000000000001",
    "seq": 67,
    "listeners": {
        "11111111-1111-4111-8111-111111111111": {
            "status": "OPEN",
            "stats": {"tx": 0, "rx": 0, "conns": 0, "totconns": 0, "ereq": 0},
        }
    },
    "pools": {
        "22222222-2222-4222-8222-222222222222:11111111-1111-4111-8111-111111111111": {
            "status": "UP",
            "members": {"33333333-3333-4333-8333-333333333333": "no check"},
        }
    },
    "ver": 3,
}


def opened(data: bytes, key: str) -> Any:
    """Open a datagram by the description of its bytes; AssertionError for a wrong signature."""
    packed, signature = data[:-64], data[-64:]
    assert hmac.new(key.encode(), packed, hashlib.sha256).hexdigest().encode() == signature
    return json.loads(zlib.decompress(packed))


def observation(
    totals: Mapping[str, Traffic],
    *,
    worker: str = "1@1",
    status: str = "OPEN",
    old: Mapping[str, Mapping[str, Traffic]] | None = None,
    silent: Collection[str] = (),
) -> Observation:
    """A look at one haproxy that serves these listeners, maybe beside old workers."""
    return Observation(
        source=SOURCE,
        counters={worker: totals, **(old or {})},
        silent=frozenset(silent),
        listeners={name: Listener(status=status, connections=3) for name in totals},
        pools={},
    )


def observed(ledger: Ledger, *looks: Observation) -> Ledger:
    """The ledger after these looks at a source that exists."""
    return ledgers.observe(ledger, looks, existing={SOURCE})


def message_of(*observations: Observation, ledger: Ledger, version: int = 3) -> Message:
    """The message with sequence number 5."""
    return messages.build(
        amphora_id=AMPHORA_ID,
        sequence=5,
        observations=observations,
        ledger=ledger,
        version=version,
    )


def snapshot(name: str) -> Snapshot:
    """A stored answer of haproxy."""
    return showstat.parse((GOLDEN / f"{name}.txt").read_text(encoding="utf-8"))


def large_message(*, listeners: int, pools: int, members: int) -> Message:
    """A message with random ids; `members` in each pool."""
    stats: messages.ListenerStats = {"tx": 1, "rx": 2, "conns": 3, "totconns": 4, "ereq": 5}
    ids = [str(uuid.uuid4()) for _ in range(listeners)]
    return {
        "id": AMPHORA_ID,
        "seq": 1,
        "ver": 3,
        "listeners": {name: {"status": "OPEN", "stats": stats} for name in ids},
        "pools": {
            f"{uuid.uuid4()}:{ids[index % listeners]}": {
                "status": "UP",
                "members": {str(uuid.uuid4()): "UP" for _ in range(members)},
            }
            for index in range(pools)
        },
    }
