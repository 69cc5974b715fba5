# SPDX-License-Identifier: Apache-2.0
"""docs/api.md says what the code serves: routes, methods and status codes."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from amphora_agent import settings
from amphora_agent.api import create_app
from amphora_agent.wiring import build_context
from tests.support.services import ProcessServices

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"
_ENTRY = re.compile(r"^(?:###|-) `(GET|PUT|POST|DELETE) (/[^`]*)`$", re.MULTILINE)
_FAILURES = frozenset({400, 401, 403, 404, 405, 409, 500, 503})
# What the helpers of api/responses.py answer with when the code does not say it.
_ANSWERS_200 = frozenset({"text", "array"})
_ANSWERS_ARGUMENT = frozenset({"ok", "reply"})

Route = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the documentation says of one route; lists of routes have no codes."""

    success: tuple[int, ...]
    failures: tuple[int, ...]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application as an amphora serves it; nothing is asked of it."""
    directory = tmp_path_factory.mktemp("agent")
    config = directory / "agent.conf"
    config.write_text(
        f"""[haproxy_amphora]
base_path = {directory}
base_cert_dir = {directory}/certs
[amphora_agent]
amphora_id = 00000000-0000-4000-8000-000000000001
agent_server_cert = {directory}/server.pem
agent_server_network_dir = {directory}/interfaces
"""
    )
    loaded = settings.load(config)
    services = ProcessServices(loaded.layout, "none", loaded.haproxy_cmd)
    return create_app(build_context(loaded, services=services, netns="none", config_file=config))


def documented() -> dict[Route, Entry]:
    """Every route of the documentation."""
    text = _DOCS.read_text(encoding="utf-8")
    matches = list(_ENTRY.finditer(text))
    assert matches
    ends = [*(match.start() for match in matches[1:]), len(text)]
    entries: dict[Route, Entry] = {}
    for match, end in zip(matches, ends, strict=True):
        section = text[match.end() : end]
        route = (match[1], nameless(match[2]))
        assert route not in entries, f"{route} is documented twice"
        entries[route] = Entry(
            success=codes("Success", section), failures=codes("Failure", section)
        )
    return entries


def codes(label: str, section: str) -> tuple[int, ...]:
    """Status codes of one list item, which may have several lines."""
    found = re.search(rf"^- {label}: (.*(?:\n  .*)*)", section, re.MULTILINE)
    if not found:
        return ()
    words = re.split(r"; (?=\d)", found[1].replace("\n ", ""))
    return tuple(int(word.split()[0]) for word in words)


def nameless(path: str) -> str:
    """A path whose parameters have no name: documentation and code may call them differently."""
    return re.sub(r"<[^>]*>|{[^}]*}", "{}", path)


def served(app: Flask) -> dict[Route, Callable[..., Any]]:
    """Every route and what answers it; 2.0 has a page of its own."""
    return {
        (method, nameless(rule.rule)): app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith("/2.0/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def successes(view: Callable[..., Any]) -> set[int]:
    """Status codes that a view answers with, read from its code."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(view)).strip().rstrip(","))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in _ANSWERS_200:
                found.add(200)
            elif node.func.id in _ANSWERS_ARGUMENT:
                [status, *_rest] = node.args
                assert isinstance(status, ast.Constant)
                assert isinstance(status.value, int)
                found.add(status.value)
    return found


def test_every_route_is_documented_and_no_other(app: Flask) -> None:
    """The documentation has exactly the routes and methods that are served."""
    assert set(documented()) == set(served(app))


def test_documented_success_is_that_of_the_code(app: Flask) -> None:
    """The code of a success is the one that the view answers with."""
    views = served(app)
    for route, entry in documented().items():
        path = route[1]
        if path in {"/", "//"} or not entry.success:
            continue
        assert set(entry.success) == successes(views[route]), route


def test_documented_failures_are_codes_that_controllers_know() -> None:
    """No route fails with a code that controllers take as success."""
    for route, entry in documented().items():
        assert set(entry.failures) <= _FAILURES, route


def test_every_route_of_1_0_has_its_codes() -> None:
    """Each route of 1.0 says how it succeeds; one that is a list item belongs to 0.5."""
    for (method, path), entry in documented().items():
        assert entry.success or path.startswith("/0.5/"), (method, path)
