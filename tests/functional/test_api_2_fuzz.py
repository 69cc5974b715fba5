# SPDX-License-Identifier: Apache-2.0
"""Documents for API 2.0 that nobody would send: right ones with something wrong in them.

Whatever comes, a failure is a problem with a code that is documented, a 5xx says which step failed,
and afterwards the load balancer is whole. Requests that are odd in other ways: see
test_api_2_schemathesis.
"""

import copy
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from amphora_agent import settings as agent_settings
from amphora_agent.api import create_app
from amphora_agent.api.v2 import openapi, problems
from amphora_agent.api.v2.routes import PREFIX, ROUTES
from amphora_agent.wiring import build_context
from tests.functional.conftest import Place
from tests.support import documents
from tests.support.documents import LB_ID, Document
from tests.support.services import ProcessServices
from tests.support.small_host import small

pytestmark = pytest.mark.slow

EXAMPLES = 400
PATH = f"{PREFIX}/loadbalancers/{LB_ID}"
_QUERIES = ("", "", "?dry_run=1")
_PUT, _ROLL_BACK = (
    next(route for route in ROUTES if route.operation == operation)
    for operation in ("put_load_balancer", "roll_back")
)


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[FlaskClient]:
    """The API without a server."""
    loaded = agent_settings.load(place.config_file)
    services = ProcessServices(loaded.layout, place.inner.name, loaded.haproxy_cmd)
    context = build_context(
        loaded, services=services, netns=place.inner.name, config_file=place.config_file
    )
    context = small(context)
    with place.outer.entered():
        yield create_app(context).test_client()
        for unit in list(services._children):
            services.stop(unit)


def rich(place: Place) -> Document:
    """A document with a bit of everything that haproxy serves."""
    pem = place.pki.amphora_pem(place.amphora_id).decode()
    document = documents.with_tls(documents.http(documents.member(1, 8081), port=8443), pem)
    [listener], [pool] = document["listeners"], document["pools"]
    listener |= {
        "insert_headers": ["X-Forwarded-For"],
        "allowed_cidrs": ["127.0.0.0/8"],
        "connection_limit": 100,
        "policies": [
            {
                "id": documents.object_id(20),
                "action": "REDIRECT_TO_URL",
                "redirect_url": "http://example.org/",
                "rules": [{"id": documents.object_id(21), "type": "PATH", "value": "/x y"}],
            }
        ],
    }
    pool |= {
        "health_monitor": {
            "type": "HTTP",
            "url_path": "/",
            "http_version": "1.1",
            "domain_name": "example.org",
        },
        "session_persistence": {"type": "APP_COOKIE", "cookie_name": "c"},
    }
    return document


def places_in(tree: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    if path:
        yield path
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from places_in(value, (*path, name))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from places_in(value, (*path, index))


def hostile() -> st.SearchStrategy[Any]:
    """Values of the wrong kind, beyond limits, and with marks that mean something elsewhere."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=40),
        st.lists(st.text(max_size=3), max_size=2),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        st.sampled_from(
            [
                *(
                    "",
                    " ",
                    "\n",
                    "\r\nglobal\n",
                    "\0",
                    '"',
                    "'",
                    "\\",
                    "#",
                    "%[env(HOME)]",
                    "$HOME",
                ),
                *("x" * 5000, "é", "\u202e", "../../etc/passwd", "127.0.0.1", "::1", "0.0.0.0/0"),
                *("HTTP", "UDP", "TERMINATED_HTTPS", LB_ID, documents.object_id(2), 0, -1, 65536),
                *("ACTIVE_STANDBY", "fe80::1%eth0", "1e400", "-----BEGIN CERTIFICATE-----"),
            ]
        ),
    )


@st.composite
def spoiled(draw: st.DrawFn, document: Document) -> bytes:
    """A document with up to three places changed, or bytes that are none."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        found = list(places_in(made))
        path = draw(st.sampled_from(found))
        parent: Any = made
        for word in path[:-1]:
            parent = parent[word]
        if draw(st.integers(0, 4)) == 0:
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw(hostile())
    body = json.dumps(made).encode()
    kind = draw(st.integers(0, 12))
    if kind == 0:
        return body[: draw(st.integers(0, len(body)))]
    return draw(st.binary(max_size=30)) if kind == 1 else body


def oldest_revision(client: FlaskClient) -> int:
    """The first one that a roll-back can be to; 1 if there is none."""
    answer = client.get(f"{PATH}/revisions")
    if answer.status_code != 200:
        return 1
    return int(json.loads(answer.data)["revisions"][-1]["revision"])


def test_api_2_fuzz_leaves_a_load_balancer_whole(
    place: Place, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Odd documents and roll-backs are refused with a documented code, or served as a whole."""
    caplog.set_level(logging.ERROR)
    document = rich(place)
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        route = data.draw(st.sampled_from([*[_PUT] * 3, _ROLL_BACK]))
        if route is _PUT:
            body = data.draw(spoiled(document))
        else:
            numbers = st.sampled_from([oldest_revision(client)] * 2) | hostile()
            body = json.dumps({"revision": data.draw(numbers)}).encode()
        tag = client.get(PATH).headers.get("ETag", "*")
        answer = client.open(
            (PATH if route is _PUT else f"{PATH}/rollback") + data.draw(st.sampled_from(_QUERIES)),
            method=route.method,
            data=body,
            content_type="application/json",
            headers={"If-Match": tag} if data.draw(st.booleans()) else {},
        )
        told = (route.method, body, answer.status_code, answer.data[:2000])
        if answer.status_code < 400:
            assert answer.status_code in dict(route.success), told
            seen[route.operation] += 1
        else:
            problem = json.loads(answer.data)
            assert problem["code"] in {*openapi.failures(route)} - {"internal_error"}, told
            assert problem["status"] < 500 or problem.get("step") or problem["detail"], told
            assert problem["status"] == problems.KINDS[problem["code"]].status, told
            seen[problem["code"]] += 1
        shown = client.get(PATH)
        assert shown.status_code == 404 or json.loads(shown.data)["state"] == "active", told

    ask()
    assert [record.getMessage() for record in caplog.records] == []
    assert {_PUT.operation, _ROLL_BACK.operation, "invalid_document"} <= set(seen)
    # The right document is still served.
    answer = client.put(PATH, data=json.dumps(document).encode(), content_type="application/json")
    assert answer.status_code in {200, 201}, answer.data
    assert client.delete(PATH).status_code == 204
