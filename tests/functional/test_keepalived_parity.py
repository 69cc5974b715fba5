# SPDX-License-Identifier: Apache-2.0
"""What keepalived is told, ours against Octavia's own renderers, and what keepalived says to it.

The differences that are meant are those of docs/rendering.md.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from amphora_agent.balancer import keepalived, lvs
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.parts import Protocol
from amphora_agent.errors import Refused
from amphora_agent.layout import NETNS, Layout
from amphora_agent.system.keepalived import KeepalivedProgram
from tests.functional.conftest import REPOSITORY
from tests.support import need, octavia_driver
from tests.support.keepalived_documents import Maker, Part, decode, spelled_out
from tests.support.keepalived_meaning import meaning, of_octavia
from tests.support.netns import Namespace, namespace

_LVS = {Protocol.UDP, Protocol.SCTP}
_DEADLINE_S = 120.0
_DOCUMENTS = 700


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A document, and both texts for one amphora or one listener of it."""

    document: LoadBalancer
    of: str
    ours: str
    octavias: str
    authenticates: bool = True


def by_octavia(documents: list[LoadBalancer]) -> list[Part]:
    """The texts that Octavia makes."""
    done = subprocess.run(
        [octavia_driver.interpreter(), "-W", "ignore", "-m", "tests.support.octavia_keepalived"],
        cwd=REPOSITORY,
        input=json.dumps([spelled_out(document) for document in documents]),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=True,
    )
    found: list[Part] = json.loads(done.stdout)
    return found


def samples(documents: list[LoadBalancer]) -> Iterator[Sample]:
    """Both texts of everything in the documents."""
    layout = Layout()
    for document, texts in zip(documents, by_octavia(documents), strict=True):
        for amphora in document.amphorae:
            yield Sample(
                document=document,
                of=amphora.id,
                ours=keepalived.config(document, amphora.id, "eth1", layout),
                octavias=texts["vrrp"][amphora.id],
                authenticates=amphora.vrrp_ip.version == 4,
            )
        for listener in document.listeners:
            if listener.protocol in _LVS:
                yield Sample(
                    document=document,
                    of=listener.id,
                    ours=lvs.config(document, listener, layout),
                    octavias=texts["lvs"][listener.id],
                )


def test_generated_documents_mean_what_octavias_say() -> None:
    """Of well over 1,000 texts, not one says anything else than Octavia's of the same document."""
    maker = Maker(seed=20_261_127)
    compared = 0
    for sample in samples([decode(maker.document()) for _ in range(_DOCUMENTS)]):
        theirs = of_octavia(sample.octavias, authenticates=sample.authenticates)
        assert meaning(sample.ours) == theirs, sample.of
        compared += 1
    assert compared >= 1000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight 7", "weight 8"),
        ("misc_timeout 3", "misc_timeout 4"),
        ("# Configuration for Member", "# Configuration for Members"),
        ("192.0.2.10 53", "192.0.2.11 53"),
        ("lb_kind NAT", "lb_kind NAT\n    alpha"),
    ],
)
def test_comparison_sees_a_difference(old: str, new: str) -> None:
    """A text of Octavia with one thing changed is no longer what ours says."""
    document = listener_document(type="UDP-CONNECT")
    [sample] = samples([document])
    assert old in sample.octavias
    assert meaning(sample.ours) == of_octavia(sample.octavias, authenticates=True)
    changed = sample.octavias.replace(old, new)
    assert meaning(sample.ours) != of_octavia(changed, authenticates=True)


@pytest.fixture(scope="module")
def amphora() -> Iterator[Namespace]:
    """A namespace with the VIP's NIC in it."""
    need.root()
    need.programs("keepalived")
    with namespace("vip") as made:
        made.ip("link", "add", "eth1", "type", "veth", "peer", "name", "other")
        made.add_address("eth1", IPv4Interface("198.51.100.4/24"))
        made.add_address("eth1", IPv6Interface("2001:db8::4/64"))
        made.ip("link", "set", "other", "up")
        made.ip("link", "set", "eth1", "up")
        yield made


def check(text: str, amphora: Namespace, directory: Path) -> None:
    """Let the real keepalived look at a text.

    Raises:
        Refused: it complains.
    """
    path = directory / "keepalived.conf"
    # It looks at nothing where the namespace that the text names is not there.
    path.write_text(text.replace(f"net_namespace {NETNS}\n", f"net_namespace {amphora.name}\n"))
    KeepalivedProgram(amphora.name).check(path)


def test_keepalived_takes_what_is_rendered(amphora: Namespace, tmp_path: Path) -> None:
    """Not one of many texts has a line that keepalived complains about, with parts of its own."""
    maker = Maker(seed=5, beyond=True)
    texts = []
    for document in (decode(maker.document()) for _ in range(100)):
        first = document.amphorae[:1]
        texts += [keepalived.config(document, item.id, "eth1", Layout()) for item in first]
        texts += [
            lvs.config(document, item, Layout())
            for item in document.listeners
            if item.protocol in _LVS
        ]
    everything = "".join(texts)
    marks = ("version 3", "track_bfd", "track_process", "MISC_CHECK", "HTTP_GET", "http_protocol")
    assert [mark for mark in marks if mark not in everything] == []
    for text in texts:
        check(text, amphora, tmp_path)


def test_keepalived_takes_what_octavia_renders(amphora: Namespace, tmp_path: Path) -> None:
    """No VRRP text of Octavia is refused, with host routes in it that keepalived does not take."""
    maker = Maker(seed=6)
    texts = [sample.octavias for sample in samples([decode(maker.document()) for _ in range(20)])]
    routes = [text for text in texts if " gateway " in text]
    assert routes
    for text in routes:
        check(text, amphora, tmp_path)
    with pytest.raises(Refused):
        check(routes[0].replace(" gateway ", " gatevia "), amphora, tmp_path)


def listener_document(**monitor: object) -> LoadBalancer:
    """A UDP listener on a VIP of each family with a member that is monitored."""
    pool = "33333333-3333-4333-8333-333333333333"
    member = {"id": "44444444-4444-4444-8444-444444444444", "address": "192.0.2.10", "port": 53}
    return decode(
        {
            "id": "11111111-1111-4111-8111-111111111111",
            "vip": {"address": "198.51.100.9", "subnet": "198.51.100.0/24"},
            "listeners": [
                {
                    "id": "22222222-2222-4222-8222-222222222222",
                    "protocol": "UDP",
                    "port": 53,
                    "default_pool": pool,
                }
            ],
            "pools": [
                {
                    "id": pool,
                    "protocol": "UDP",
                    "health_monitor": monitor,
                    "session_persistence": {"type": "SOURCE_IP"},
                    "members": [member | {"weight": 7}],
                }
            ],
        }
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lb_kind NAT", "lb_kinds NAT"),
        ("status_code 200", "status_code 2000"),
        ("persistence_granularity 255.255.255.255", "persistence_granularity x.y"),
        ("retry 3", "retry three"),
        ("connect_timeout 3", "connect_timeouts 3"),
    ],
)
def test_keepalived_refuses_a_mistake_in_a_listener(
    amphora: Namespace, tmp_path: Path, *, old: str, new: str
) -> None:
    """The text of a listener is taken, and with one mistake in it refused."""
    document = listener_document(type="HTTP")
    text = lvs.config(document, document.listeners[0], Layout())
    assert old in text
    check(text, amphora, tmp_path)
    with pytest.raises(Refused):
        check(text.replace(old, new), amphora, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("virtual_router_id 1", "virtual_router_id 256"),
        ("track_bfd", "track_bdf"),
        ("quorum 1", "quorum one"),
        ("multiplier 5", "multiplier 5000"),
        ("table 1 priority", "tabel 1 priority"),
        ("interface eth1", "interface eth7"),
    ],
)
def test_keepalived_refuses_a_mistake(
    amphora: Namespace, tmp_path: Path, *, old: str, new: str
) -> None:
    """A rendered text with one mistake in it is refused, so that the check above can fail."""
    maker = Maker(seed=1)
    part = maker.document()
    while len(part.get("amphorae", ())) < 2:
        part = maker.document()
    part["vrrp"] |= {"bfd": {}, "track_process": True}
    part["enabled"] = True
    part["listeners"] = [
        {"id": part["amphorae"][0]["id"], "protocol": "HTTP", "port": 80},
    ]
    document = decode(part)
    text = keepalived.config(document, document.amphorae[0].id, "eth1", Layout())
    assert old in text
    check(text, amphora, tmp_path)
    with pytest.raises(Refused):
        check(text.replace(old, new), amphora, tmp_path)
