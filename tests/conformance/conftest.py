# SPDX-License-Identifier: Apache-2.0
"""Which agent is tested: one that is started here, or the one that the environment names.

AMPHORA_TARGET=https://192.0.2.10:9443 names an agent that runs already; then these say who asks:
AMPHORA_TARGET_ID (the amphora's UUID), AMPHORA_TARGET_TRUST (CA certificates of amphorae),
AMPHORA_TARGET_IDENTITY (key and certificate of a controller). AMPHORA_TARGET_BASE is its base_path,
if that is not the usual one. Tests that look at its files or need NICs are skipped.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest

from tests.conformance.fixtures import *  # noqa: F403
from tests.conformance.target import LocalFiles, Nic, Target
from tests.functional.conftest import GATEWAY, LOOPBACK, NIC_MAC, Place, make_place
from tests.support import need, pki
from tests.support.netns import Namespace

_VARIABLE = "AMPHORA_TARGET"
_MEMBER_MAC = "02:00:00:00:00:02"
_MEMBER_GATEWAY = IPv4Interface("203.0.113.1/24")
_DEADLINE_S = 30


class _Here(Namespace):
    """Where the tests run, without a namespace of their own."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Nothing to enter."""
        yield


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The agent under test."""
    if os.environ.get(_VARIABLE):
        yield _named(os.environ)
        return
    need.programs("nft")
    with ExitStack() as stack:
        place = stack.enter_context(make_place(pki.create(tmp_path_factory.mktemp("pki"))))
        _add_member_nic(place)
        process = place.start()
        try:
            place.await_answer()
            yield _started(place)
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_S)
        assert "Traceback" not in place.log.read_text()


def _named(environment: Mapping[str, str]) -> Target:
    url = urlsplit(environment[_VARIABLE])
    base = PurePosixPath(environment.get(f"{_VARIABLE}_BASE", "/var/lib/octavia"))
    return Target(
        inside=_Here(name="none"),
        address=IPv4Address(url.hostname or ""),
        port=url.port or 9443,
        amphora_id=uuid.UUID(environment[f"{_VARIABLE}_ID"]),
        trust=Path(environment[f"{_VARIABLE}_TRUST"]),
        controller=Path(environment[f"{_VARIABLE}_IDENTITY"]),
        base=base,
        certs=base / "certs",
    )


def _started(place: Place) -> Target:
    return Target(
        inside=place.outer,
        address=LOOPBACK,
        amphora_id=place.amphora_id,
        trust=place.pki.server_chain,
        controller=place.pki.controller,
        stranger=place.pki.stranger,
        base=PurePosixPath(place.base),
        certs=PurePosixPath(place.base / "certs"),
        server_pem=PurePosixPath(place.server_pem),
        config_file=PurePosixPath(place.config_file),
        files=LocalFiles(),
        mint=lambda: place.pki.amphora_pem(place.amphora_id),
        vip_nic=Nic(mac=NIC_MAC, network=GATEWAY.network),
        member_nic=Nic(mac=_MEMBER_MAC, network=IPv4Network(_MEMBER_GATEWAY.network)),
        keepalived=True,
    )


def _add_member_nic(place: Place) -> None:
    """A second NIC in the root namespace of the amphora."""
    place.outer.ip(
        *("link", "add", "nic1", "address", _MEMBER_MAC, "type", "veth"),
        *("peer", "name", "net1", "netns", place.network.name),
    )
    place.network.add_address("net1", _MEMBER_GATEWAY)
    place.network.ip("link", "set", "net1", "up")
