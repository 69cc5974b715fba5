# SPDX-License-Identifier: Apache-2.0
"""What API 2.0 says of itself, and docs/api-2.0.md, are what the code serves."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask

from amphora_agent import errors
from amphora_agent.api.v2 import openapi, problems, views
from amphora_agent.api.v2.routes import PREFIX, ROUTES
from amphora_agent.balancer import checks, values
from amphora_agent.balancer.document import LoadBalancer
from tests.support import documents
from tests.unit.test_api_docs import app  # noqa: F401  # a fixture

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "api-2.0.md"
_ENTRY = re.compile(r"^### `(GET|PUT|POST|DELETE) (/[^`?]*)`$", re.MULTILINE)


def described() -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation of the description, by method and path."""
    return {
        (method.upper(), path): operation
        for path, operations in openapi.description()["paths"].items()
        for method, operation in operations.items()
    }


def nameless(path: str) -> str:
    """A path whose parameters have no name."""
    return re.sub(r"<[^>]*>|{[^}]*}", "{}", path)


def references(tree: object) -> set[str]:
    """Every `$ref` in a tree."""
    if isinstance(tree, dict):
        own = {tree["$ref"]} if isinstance(tree.get("$ref"), str) else set()
        return own.union(*map(references, tree.values()))
    if isinstance(tree, list | tuple):
        return set().union(*map(references, tree))
    return set()


def test_api_2_description_has_the_routes_of_the_application(app: Flask) -> None:  # noqa: F811
    """The description has exactly the routes and methods that are served."""
    served = {
        (method, nameless(rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(PREFIX)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(method, nameless(path)) for method, path in described()} == served
    assert {route.operation for route in ROUTES} == set(views.VIEWS)


def test_api_2_description_is_whole() -> None:
    """Every reference leads somewhere, and every parameter of a path is described."""
    description = msgspec.json.decode(msgspec.json.encode(openapi.description()))
    assert description["openapi"] == "3.1.0"
    schemas = description["components"]["schemas"]
    assert references(description) <= {f"#/components/schemas/{name}" for name in schemas}
    assert "LoadBalancer" in schemas
    for (_method, path), operation in described().items():
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert min(map(int, operation["responses"])) < 300


def test_api_2_schema_is_that_of_the_document() -> None:
    """The schema is a JSON Schema of 2020-12 with the document's fields."""
    schema = msgspec.json.decode(msgspec.json.encode(openapi.schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    names = {field.encode_name for field in msgspec.structs.fields(LoadBalancer)}
    assert set(schema["$defs"]["LoadBalancer"]["properties"]) == names
    assert schema["$defs"]["LoadBalancer"]["additionalProperties"] is False


def test_api_2_codes_of_routes_are_kinds_of_problems() -> None:
    """A route names no code that there is not, and every code belongs to an error."""
    assert {code for route in ROUTES for code in openapi.failures(route)} <= set(problems.KINDS)
    raised = {kind.code for kind in errors.Problem.__subclasses__()}
    assert raised <= set(problems.KINDS)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.PreconditionFailed("x"), 412, "precondition_failed"),
        (errors.CertificateGone("x"), 409, "certificate_gone"),
        (errors.ManagedElsewhere("x"), 409, "managed_by_1_0"),
        (errors.WrongAmphora("x"), 409, "wrong_amphora"),
        (errors.NotFound("x"), 404, "not_found"),
        (errors.InvalidRequest("x"), 400, "invalid_request"),
        (errors.AgentError("x"), 500, "failed"),
        (OSError(28, "No space left on device"), 500, "system_error"),
        (ValueError("secret"), 500, "internal_error"),
        (errors.StepFailed("x", "y", refused=True, restored=True), 422, "configuration_refused"),
        (errors.StepFailed("x", "y", refused=False, restored=True), 500, "apply_failed"),
        (errors.StepFailed("x", "y", refused=False, restored=False), 500, "restore_failed"),
    ],
)
def test_api_2_errors_are_told_apart(error: Exception, status: int, code: str) -> None:
    """Each error has its code and status; the words of one that nobody expected are not shown."""
    problem = problems.problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert problem.title == problems.KINDS[code].title
    assert "secret" not in problem.detail


def test_api_2_invalid_document_lists_its_problems() -> None:
    """Each fault of a document is told with its path and reason."""
    faults = (checks.Problem(path="vip.address", reason="it is no address"),)
    problem = problems.problem_of(checks.InvalidDocument(faults))
    assert (problem.status, problem.code) == (422, "invalid_document")
    assert [(one.path, one.reason) for one in problem.problems] == [
        ("vip.address", "it is no address")
    ]


def test_api_2_documentation_has_every_route_and_code() -> None:
    """The documentation has the routes, and for each the statuses and codes of the description."""
    text = _DOCS.read_text(encoding="utf-8")
    entries = list(_ENTRY.finditer(text))
    ends = [*(entry.start() for entry in entries[1:]), len(text)]
    documented = {
        (entry[1], nameless(entry[2])): text[entry.end() : end]
        for entry, end in zip(entries, ends, strict=True)
    }
    assert len(documented) == len(entries), "a route is documented twice"
    by_route = {(route.method, nameless(PREFIX + route.path)): route for route in ROUTES}
    assert set(documented) == set(by_route)
    for name, route in by_route.items():
        section = documented[name].split("\n## ")[0]
        success = re.search(r"^- Success: (.*)$", section, re.MULTILINE)
        assert success is not None, name
        statuses = {int(word) for word in re.findall(r"\b\d{3}\b", success[1])}
        assert statuses == {status for status, _name in route.success}, name
        codes = set(
            re.findall(
                r"`(\w+)`", "".join(re.findall(r"^- Failure: .*(?:\n  .*)*", section, re.MULTILINE))
            )
        )
        assert codes == set(route.failures), name


def test_api_2_documentation_has_every_kind_of_problem() -> None:
    """The table of codes is that of the code, with its statuses."""
    text = _DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", text, re.MULTILINE)
    assert dict(rows) == {code: str(kind.status) for code, kind in problems.KINDS.items()}


def test_api_2_example_document_is_right() -> None:
    """The document in the documentation is one that the amphora takes."""
    text = _DOCS.read_text(encoding="utf-8")
    [example] = re.findall(r"```json\n(\{.*?\n\})\n```", text, re.DOTALL)
    assert checks.decode(example.encode()).listeners
    assert checks.decode(documents.encoded(documents.http())).listeners
    assert msgspec.json.decode(example, type=LoadBalancer, dec_hook=values.decode)
