# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg, ours against Octavia's own renderer, and what haproxy says to it.

The differences that are meant are those of docs/rendering.md.
"""

import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amphora_agent import haproxycfg, render
from amphora_agent.balancer import checks, haproxy, values
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy import Host
from amphora_agent.errors import CommandFailed
from amphora_agent.layout import Layout
from amphora_agent.system.haproxy import HaproxyProgram
from tests.functional.conftest import HAPROXY, REPOSITORY
from tests.support import need, octavia_driver
from tests.support.haproxy_documents import Maker, Part
from tests.support.haproxy_meaning import meaning, of_octavia
from tests.support.pki import Pki

_DEADLINE_S = 180.0
_DOCUMENTS = 1000
_MACHINE = {
    "cpu_count": 4,
    "active_tuned_profiles": "virtual-guest amphora",
    "memory": {"free": 900_000_000, "buffers": 1, "cached": 2},
}
_HOST = Host(layout=Layout(), processors=4, is_tuned=True, memory_kb=900_000_003)


def decode(part: Part) -> LoadBalancer:
    """A document from its JSON; it is a valid one."""
    return checks.decode(json.dumps(part).encode())


def by_octavia(documents: list[LoadBalancer], machine: dict[str, Any] = _MACHINE) -> list[str]:
    """The texts that Octavia makes."""
    asked = {
        "documents": [msgspec.to_builtins(each, enc_hook=values.encode) for each in documents],
        "machine": machine,
        "warm_up": False,
    }
    done = subprocess.run(
        [octavia_driver.interpreter(), "-W", "ignore", "-m", "tests.support.octavia_haproxy"],
        cwd=REPOSITORY,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    texts: list[str] = json.loads(done.stdout)["texts"]
    return texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A document and what Octavia makes of it."""

    document: LoadBalancer
    theirs: str

    @property
    def ours(self) -> str:
        """What ours is."""
        return haproxy.config(self.document, _HOST)


# By a value of a rule, what Octavia's text compares with: it escapes for HTML, and haproxy takes
# what follows a `#` for a comment.
_BROKEN = {"it's": ("it&",), "a#b": ("a",), "#b": ()}


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Sample]]:
    """By kind, all that the tests compare: Octavia's renderer takes seconds to start."""
    maker = Maker(seed=20_261_127, hard=False)
    parts = {"generated": [maker.document() for _ in range(_DOCUMENTS)], "plain": [plain()]}
    for value in _BROKEN:
        parts[value] = [plain()]
        parts[value][0]["listeners"][0]["policies"][0]["rules"][0]["value"] = value
    documents = {kind: list(map(decode, made)) for kind, made in parts.items()}
    texts = iter(by_octavia([each for made in documents.values() for each in made]))
    return {
        kind: [Sample(document=each, theirs=next(texts)) for each in made]
        for kind, made in documents.items()
    }


def test_generated_documents_mean_what_octavias_say(samples: dict[str, list[Sample]]) -> None:
    """Of 1,000 documents, not one is rendered to anything else than what Octavia says."""
    assert len(samples["generated"]) == _DOCUMENTS
    for sample in samples["generated"]:
        assert meaning(sample.ours) == of_octavia(sample.theirs), sample.document.id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight 1", "weight 2"),
        ("maxconn 50000", "maxconn 50001"),
        ("check inter", "check-ssl inter"),
        ("mode http", "mode tcp"),
        ("default_backend", "use_backend"),
        ("option redispatch", "option redispatch\n    option abortonclose"),
    ],
)
def test_comparison_sees_a_difference(samples: dict[str, list[Sample]], old: str, new: str) -> None:
    """A text of Octavia with one thing changed is no longer what ours says."""
    [sample] = samples["plain"]
    assert old in sample.theirs
    assert meaning(sample.ours) == of_octavia(sample.theirs)
    assert meaning(sample.ours) != of_octavia(sample.theirs.replace(old, new))


@pytest.mark.parametrize("value", _BROKEN)
def test_values_that_octavia_breaks_are_kept(samples: dict[str, list[Sample]], value: str) -> None:
    """Ours compares with the value, where Octavia's text compares with something else."""
    [sample] = samples[value]

    def compared(text: str) -> tuple[str, ...]:
        [found] = [each for each in haproxycfg.directives(text) if each.name == "acl"]
        return found.words[5:]

    assert compared(sample.ours) == (value,)
    assert compared(sample.theirs) == _BROKEN[value]


def plain() -> Part:
    """A load balancer with one listener of HTTP, a rule and two members."""
    listener, pool, rule = (str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))
    return {
        "id": str(uuid.UUID(int=9, version=4)),
        "project_id": "p",
        "vip": {"address": "192.0.2.10", "subnet": "192.0.2.0/24"},
        "listeners": [
            {
                "id": listener,
                "protocol": "HTTP",
                "port": 80,
                "default_pool": pool,
                "policies": [
                    {
                        "id": str(uuid.UUID(int=4, version=4)),
                        "action": "REJECT",
                        "rules": [{"id": rule, "type": "PATH", "value": "/x"}],
                    }
                ],
            }
        ],
        "pools": [
            {
                "id": pool,
                "protocol": "HTTP",
                "health_monitor": {"type": "HTTP"},
                "members": [
                    {
                        "id": str(uuid.UUID(int=10 + number, version=4)),
                        "address": f"203.0.113.{number + 1}",
                        "port": 80,
                    }
                    for number in range(2)
                ],
            }
        ],
    }


# What haproxy says


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Directories with certificates, where haproxy can be asked."""

    layout: Layout
    pki: Pki

    def check(self, document: LoadBalancer) -> None:
        """Let haproxy read the configuration of a document.

        Raises:
            CommandFailed: it refuses it.
        """
        config = self.written(document)
        peer = render.peer_name(document.amphorae[0].id) if document.amphorae else "none"
        HaproxyProgram(Path(HAPROXY)).check((config, self.layout.user_group), peer)

    def written(self, document: LoadBalancer) -> Path:
        """Where the configuration of a document is now, with what it names."""
        directory = self.layout.cert_dir(document.id)
        directory.mkdir(parents=True, exist_ok=True)
        pem = self.pki.amphora_pem(uuid.UUID(document.id))
        contents = {
            "one": pem,
            "two": pem,
            "ca": self.pki.server_chain.read_bytes(),
            "crl": self.pki.server.revocations_pem(),
        }
        for name, content in contents.items():
            (directory / f"{name}.pem").write_bytes(content)
        for name, content in haproxy.certificate_lists(document, self.layout).items():
            (directory / name).write_bytes(content)
        config = self.layout.base / f"{document.id}.cfg"
        config.write_text(haproxy.config(document, Host(layout=self.layout)))
        return config


@pytest.fixture
def place(authorities: Pki) -> Iterator[Place]:
    """A fresh one; haproxy's paths of sockets are limited."""
    need.programs("haproxy")
    with tempfile.TemporaryDirectory(prefix="amp-") as name:
        base = Path(name)
        layout = Layout(base=base, certs=base / "certs")
        layout.user_group.write_text("global\n    group nogroup\n")
        layout.ping_wrapper.write_text("#!/bin/sh\n")
        layout.ping_wrapper.chmod(0o755)
        yield Place(layout=layout, pki=authorities)


@pytest.mark.parametrize("beyond", [False, True])
def test_haproxy_takes_what_is_rendered(place: Place, beyond: bool) -> None:
    """haproxy refuses none of the generated documents, with hard values and all extras."""
    maker = Maker(seed=7, beyond=beyond)
    for _ in range(60):
        part = maker.document()
        if part["listeners"]:
            place.check(decode(part))


def test_haproxy_would_refuse_a_wrong_text(place: Place) -> None:
    """The check of the test before does refuse: here a regular expression that is none."""
    part = plain()
    part["listeners"][0]["policies"][0]["rules"][0] |= {"compare_type": "REGEX", "value": "("}
    with pytest.raises(CommandFailed, match="regex"):
        place.check(decode(part))
