# SPDX-License-Identifier: Apache-2.0
"""Measure a PUT of API 2.0 end to end; as root, in namespaces of its own.

Beside it the same change by API 1.0: an upload of the text that 2.0 has rendered and a reload, as
a controller sends them. The rendering by the controller is not in the figures of 1.0.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.functional.conftest import Place, make_place
from tests.support import documents, pki
from tests.support.documents import LB_ID, Document
from tests.support.mutual_tls import Client

LISTENERS = (1, 100)
_MEMBERS = 10
_DEADLINE_S = 30
_JSON = {"Content-Type": "application/json"}


def main() -> int:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    print(f"load average: {os.getloadavg()[0]:.1f}, rounds: {arguments.rounds}, medians in ms\n")
    print("| listeners | members | PUT 2.0 | unchanged PUT | dry run | upload and reload 1.0 |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        authorities = pki.create(Path(directory))
        for count in LISTENERS:
            figures = measure(authorities, count, arguments.rounds)
            cells = [f"{statistics.median(values) * 1000:.0f}" for values in figures]
            print(f"| {count} | {count * _MEMBERS} | {' | '.join(cells)} |", flush=True)
    return 0


def document(listeners: int, timeout_ms: int) -> Document:
    """Listeners with a pool of ten members each; a change of the time needs a reload."""
    made: Document = {
        "id": LB_ID,
        "vip": {"address": documents.VIP, "subnet": "127.0.0.0/8"},
        "listeners": [],
        "pools": [],
    }
    for number in range(listeners):
        pool = documents.object_id(1000 + number)
        first = 10_000 + number * _MEMBERS
        made["listeners"].append(
            {
                "id": documents.object_id(5000 + number),
                "protocol": "HTTP",
                "port": 10_000 + number,
                "default_pool": pool,
                "timeout_client_data_ms": timeout_ms,
                "connection_limit": 50,
            }
        )
        members = [documents.member(first + one, 8081 + one) for one in range(_MEMBERS)]
        made["pools"].append({"id": pool, "protocol": "HTTP", "members": members})
    return made


def measure(authorities: pki.Pki, listeners: int, rounds: int) -> list[list[float]]:
    """Seconds of each round: PUT, PUT without a change, dry run, upload and reload."""
    found: list[list[float]] = [[], [], [], []]
    path = f"/2.0/loadbalancers/{LB_ID}"
    with make_place(authorities) as place, _running(place) as client:

        def put(timeout_ms: int, query: str = "") -> float:
            body = documents.encoded(document(listeners, timeout_ms))
            begin = time.perf_counter()
            answer = client.request("PUT", path + query, body, headers=_JSON)
            taken = time.perf_counter() - begin
            if answer.status not in {200, 201}:
                sys.exit(f"PUT failed: {answer.body!r}")
            return taken

        put(10_000)
        for number in range(1, rounds + 1):
            timeout_ms = 10_000 + 2 * number
            found[2].append(put(timeout_ms, "?dry_run=1"))
            found[0].append(put(timeout_ms))
            found[1].append(put(timeout_ms))
            config = (place.base / LB_ID / "haproxy.cfg").read_text()
            changed = config.replace(
                f"timeout client {timeout_ms}", f"timeout client {timeout_ms + 1}"
            )
            if changed == config:
                sys.exit("the configuration does not have the time in it that was asked for")
            found[3].append(_upload(place, client, changed.encode()))
        client.request("DELETE", path)
    return found


def _upload(place: Place, client: Client, config: bytes) -> float:
    begin = time.perf_counter()
    path = f"/1.0/loadbalancer/{place.amphora_id}/{LB_ID}/haproxy"
    uploaded = client.request("PUT", path, config)
    reloaded = client.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload")
    if (uploaded.status, reloaded.status) != (202, 202):
        sys.exit(f"upload failed: {uploaded.body!r} {reloaded.body!r}")
    return time.perf_counter() - begin


@contextmanager
def _running(place: Place) -> Iterator[Client]:
    process = place.start()
    try:
        place.await_answer()
        yield place.client(place.pki.controller)
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)


if __name__ == "__main__":
    sys.exit(main())
