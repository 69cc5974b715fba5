# SPDX-License-Identifier: Apache-2.0
"""Requests that nobody would send, to every route of the API.

Whatever comes, the answer is one that controllers understand, a 5xx names a real failure, and
nothing is written outside the directories that the configuration names.
"""

import json
import logging
import os
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from flask import Response, request
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from amphora_agent import settings as agent_settings
from amphora_agent.api import create_app
from amphora_agent.wiring import build_context
from tests.functional.conftest import NIC_MAC, Place
from tests.functional.haproxy_configs import listener_config
from tests.support.services import ProcessServices

pytestmark = pytest.mark.slow

PER_EXAMPLE = 25
EXAMPLES = 810
OVER_TLS = 500
ANSWERS = frozenset({200, 202, 400, 401, 403, 404, 405, 409, 500, 503})
# What a 5xx may say: programs and the kernel that refuse what looked right.
REAL_FAILURES = (
    "Error starting haproxy",
    "Error reloading haproxy",
    "Error stopping haproxy",
    "Failed to",
    "The kernel refused",
)
_LB = str(uuid.UUID(int=7, version=4))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Sent = tuple[str, str, bytes]


@dataclass(slots=True)
class Watch:
    """Notes every file that this process changes while it is on."""

    on: bool = False
    changed: set[Path] = field(default_factory=set)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See sys.addaudithook."""
        if not self.on:
            return
        if event == "open":
            path, _mode, flags = arguments
            if isinstance(path, str | bytes) and (flags or 0) & _WRITING:
                self._note(path)
        elif event in {"os.rename", "os.link", "os.symlink"}:
            self._note(arguments[0])
            self._note(arguments[1])
        elif event in {"os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.truncate"}:
            if isinstance(arguments[0], str | bytes | os.PathLike):
                self._note(arguments[0], arguments[-1] if len(arguments) > 1 else -1)
        elif event == "shutil.rmtree":
            self._note(arguments[0])

    def _note(self, path: Any, directory: object = -1) -> None:
        if (
            not Path(os.fsdecode(path)).is_absolute()
            and isinstance(directory, int)
            and directory > 2
        ):
            # A name relative to an open directory, as in shutil.rmtree, whose own event has the
            # whole path.
            return
        self.changed.add(Path(os.path.normpath(Path.cwd() / os.fsdecode(path))))


WATCH = Watch()
sys.addaudithook(WATCH.hook)


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[FlaskClient]:
    """The API without a server, in a namespace whose NICs may be lost."""
    loaded = agent_settings.load(place.config_file)
    services = ProcessServices(loaded.layout, place.inner.name, loaded.haproxy_cmd)
    context = build_context(
        loaded, services=services, netns=place.inner.name, config_file=place.config_file
    )
    with place.outer.entered():
        app = create_app(context)
        app.extensions["routes seen"] = seen = set()

        @app.after_request
        def note(response: Response) -> Response:
            seen.add(request.url_rule.rule if request.url_rule else "none")
            return response

        yield app.test_client()
        for unit in list(services._children):
            services.stop(unit)


@contextmanager
def watched() -> Iterator[set[Path]]:
    """Adds the files that are changed in the block, by the agent and not by what tests it."""
    WATCH.on = True
    try:
        yield WATCH.changed
    finally:
        WATCH.on = False


def words() -> st.SearchStrategy[str]:
    """Parts of paths: right ones, nearly right ones, and ones that lead away."""
    return st.one_of(
        st.sampled_from(
            [
                *(_LB, _LB.upper(), str(uuid.UUID(int=0)), _LB.replace("-", ""), "x"),
                *("start", "STOP", "reload", "restart", "haproxy", "upload", "rules"),
                *(f"{'ab' * 20}.pem", f"{_LB}.pem", "a.pem", ".pem", "a.pem.bak", "-.pem"),
                *("..", ".", "...", "../..", "..%2f", "%2e%2e", "/etc/passwd", "~", "\0", "\n"),
                *("198.51.100.9", "2001:db8::9", "::", "0.0.0.0", "127.0.0.1", "fe80::1%eth0"),
                *("9" * 400, "é", "\u202e", "a b", "a;b", "$(id)", "`id`", "%", "%s", "{}"),
            ]
        ),
        st.text(max_size=12),
    )


def documents(base: Path) -> st.SearchStrategy[bytes]:
    """Bodies: nearly right JSON, nearly right configurations, and noise."""
    config = listener_config(base, _LB, vip="127.0.0.1", ports={"one": 8081})
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1, 2**40),
        st.sampled_from(
            [
                *("198.51.100.0/24", "198.51.100.4", "198.51.100.9", "2001:db8::/64", "0.0.0.0/0"),
                *(NIC_MAC, "02:00:00:00:00:fe", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"),
                *("TCP", "vrrp", "eth1", "../..", ""),
            ]
        ),
        st.text(max_size=8),
    )
    keys = st.sampled_from(
        [
            *("subnet_cidr", "gateway", "mac_address", "mtu", "vrrp_ip", "host_routes", "vip"),
            *("additional_vips", "is_sriov", "fixed_ips", "vip_net_info", "ip_address"),
            *("destination", "nexthop", "protocol", "cidr", "port"),
        ]
    )
    plug = st.fixed_dictionaries(
        {"mac_address": scalars, "subnet_cidr": scalars, "gateway": scalars},
        optional={"vrrp_ip": scalars, "mtu": scalars, "fixed_ips": st.lists(scalars, max_size=2)},
    )
    trees = st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=6,
    )
    rules = st.lists(
        st.fixed_dictionaries({"protocol": scalars, "cidr": scalars, "port": scalars}), max_size=3
    )
    return st.one_of(
        st.one_of(plug, trees, rules).map(lambda tree: json.dumps(tree).encode()),
        st.binary(max_size=40),
        st.sampled_from([b"", config, config[:-30], config + b"\xff", config * 2, b"global\n"]),
    )


def requests(base: Path, rules: list[str]) -> st.SearchStrategy[Sent]:
    """A request to a route whose parameters are anything, or to no route at all."""

    def anything(part: str) -> st.SearchStrategy[str]:
        # Mostly a right id, so that requests get further than to the routing.
        right = [st.just(_LB)] * 5 if "uuid:" in part else []
        return st.one_of(*right, words().map(lambda word: quote(word, safe=":%")))

    def fill(rule: str) -> st.SearchStrategy[str]:
        parts = [
            anything(part) if part.startswith("<") else st.just(part) for part in rule.split("/")
        ]
        return st.tuples(*parts).map("/".join)

    anywhere = st.lists(words(), max_size=5).map(
        lambda found: quote("/1.0/" + "/".join(found), safe="/:%")
    )
    paths = st.one_of(*(fill(rule) for rule in rules), anywhere)
    methods = st.sampled_from(["GET", "PUT", "PUT", "PUT", "POST", "POST", "DELETE", "PATCH"])
    return st.tuples(methods, paths, documents(base))


def judge(sent: Sent, status: int, content_type: str, body: bytes) -> None:
    """One answer is such that a controller knows what to make of it."""
    told = (*sent, status, body)
    assert status in ANSWERS, told
    if not content_type.startswith("text/plain"):
        assert content_type == "application/json", told
        answer = json.loads(body)
        if status >= 400:
            assert isinstance(answer, dict), told
    if status >= 500:
        assert any(words in body.decode() for words in REAL_FAILURES), told


def test_fuzz_answers_and_writes_where_it_may(
    place: Place, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """20,000 odd requests get sane answers, log no traceback and write nothing elsewhere."""
    caplog.set_level(logging.ERROR)
    # 2.0 has other answers, and a fuzz of its own.
    every = {rule.rule for rule in client.application.url_map.iter_rules()}
    rules = sorted(rule for rule in every if not rule.startswith("/2.0/"))
    statuses: Counter[int] = Counter()
    seen = client.application.extensions["routes seen"]

    def ask(batch: list[Sent]) -> None:
        for method, path, body in batch:
            # The client itself would take `//x` for the name of a host.
            raw = {"PATH_INFO": unquote_to_bytes(path).decode("latin-1")}
            with watched():
                answer = client.open("/", method=method, data=body, environ_overrides=raw)
            statuses[answer.status_code] += 1
            judge((method, path, body), answer.status_code, answer.content_type, answer.data)
            answer.close()

    WATCH.changed.clear()
    # Each route has its share: what is drawn from all of them at once depends on the constants of
    # the code, which hypothesis collects, and may leave one out.
    for rule in rules:
        batches = st.lists(requests(place.base, [rule]), min_size=PER_EXAMPLE, max_size=PER_EXAMPLE)
        settings(
            max_examples=EXAMPLES // len(rules) + 1,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(batches)(ask))()
    changed = WATCH.changed
    assert statuses.total() >= 20_000
    # Routing takes `//` for `/`, so that the rule of its own is for readers only.
    assert seen | {"//"} == {*rules, "none"}
    assert [record.getMessage() for record in caplog.records] == []
    elsewhere = {path for path in changed if not path.is_relative_to(place.directory)}
    assert elsewhere - {Path("/sys/bus/pci/rescan"), Path("/dev/null")} == set()
    assert changed - elsewhere, "the watch saw nothing, so it was not on"


def test_fuzz_over_tls(agent: Place) -> None:
    """Odd requests over TLS end in sane answers, and the agent answers as before."""
    client = agent.client(agent.pki.controller)
    rules = ["/1.0/loadbalancer/<a>/<b>", "/1.0/loadbalancer/<a>/<b>/haproxy", "/<a>/<b>", "//<a>"]
    asked = 0

    @settings(
        max_examples=OVER_TLS,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(agent.base, rules))
    def ask(sent: Sent) -> None:
        nonlocal asked
        answer = client.request(*sent)
        judge(sent, answer.status, answer.headers["content-type"], answer.body)
        asked += 1

    ask()
    assert asked >= OVER_TLS
    assert client.get("//") == (200, '{"api_version":"1.0"}')


@pytest.mark.parametrize(
    "noise",
    [
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /1.0/config HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /1.0/config HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"PUT /1.0/config HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 10,
    ],
)
def test_fuzz_of_the_protocol(agent: Place, noise: bytes) -> None:
    """Bytes that are no request get an answer that controllers know or none, and harm nobody."""
    client = agent.client(agent.pki.controller)
    with client.session() as session:
        session.settimeout(2)
        try:
            session.sendall(noise)
            said = session.recv(4096)
        except OSError:
            said = b""  # more is awaited, or the connection was cut
    if said:
        assert int(said.split()[1]) in ANSWERS, said[:200]
    assert client.get("//") == (200, '{"api_version":"1.0"}')


def test_fuzz_watch_sees_changes(tmp_path: Path) -> None:
    """The watch of the tests above notes what is written, renamed and removed."""
    one, two = tmp_path / "one", tmp_path / "two"
    WATCH.changed.clear()
    with watched() as changed:
        one.write_text("x")
        one.rename(two)
        two.unlink()
        (tmp_path / "three").mkdir()
    assert changed == {one, two, tmp_path / "three"}


def test_fuzz_judge_sees_a_bad_answer() -> None:
    """The judge of the tests above refuses a code that controllers take as success."""
    for status in (302, 413, 418, 502):
        with pytest.raises(AssertionError):
            judge(("GET", "/", b""), status, "application/json", b"{}")
    with pytest.raises(AssertionError):
        judge(("GET", "/", b""), 500, "application/json", b'{"error":"KeyError"}')
