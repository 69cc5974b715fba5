# SPDX-License-Identifier: Apache-2.0
"""What is sent with 1 to 10,000 members: bytes, and what has no room."""

import random
import time
import uuid

from amphora_agent.heartbeat import size
from amphora_agent.heartbeat.message import Message, encode

MEMBERS = (1, 10, 55, 200, 1_000, 2_500, 3_000, 4_000, 5_000, 10_000)
LIMIT_BYTES = 65_000
_MEMBERS_PER_POOL = 50


def table() -> str:
    """Rows in Markdown; every member has a check and is UP, the case that costs most."""
    lines = [
        "| listeners / pools / members | whole, bytes | sent, bytes | left out | time |",
        "| --- | --- | --- | --- | --- |",
    ]
    for members in MEMBERS:
        message = made(members)
        whole = len(encode(message, key="k"))
        _data, level = size.fit(message, key="k", limit=LIMIT_BYTES)
        # As from the second heartbeat on.
        begin_s = time.process_time()
        data, level = size.fit(message, key="k", limit=LIMIT_BYTES, level=level)
        taken_s = time.process_time() - begin_s
        pools = len(message["pools"])
        lines.append(
            f"| {pools} / {pools} / {members} | {whole:,} | {len(data):,} |"
            f" {size.left_out(level) or 'nothing'} | {taken_s * 1000:.1f} ms |"
        )
    return "\n".join(lines)


def made(members: int) -> Message:
    """One with so many members, all of them UP."""
    numbers = random.Random(members)

    def new() -> str:
        return str(uuid.UUID(int=numbers.getrandbits(128)))

    message: Message = {"id": new(), "seq": 1, "ver": 3, "listeners": {}, "pools": {}}
    for begin in range(0, members, _MEMBERS_PER_POOL):
        listener = new()
        message["listeners"][listener] = {
            "status": "OPEN",
            "stats": {
                name: numbers.randrange(100_000)
                for name in ("tx", "rx", "conns", "totconns", "ereq")
            },  # type: ignore[typeddict-item]  # the five names of ListenerStats
        }
        count = min(_MEMBERS_PER_POOL, members - begin)
        message["pools"][f"{new()}:{listener}"] = {
            "status": "UP",
            "members": {new(): "UP" for _ in range(count)},
        }
    return message
