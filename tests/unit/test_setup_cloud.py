# SPDX-License-Identifier: Apache-2.0
"""Requests to a cloud as they are shown, errors of openstacksdk, and what belongs to whom."""

from pathlib import Path

import pytest
import requests
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from amphora_controller import cloud_errors
from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Cloud, Request, Service
from amphora_controller.setup.context import Context
from tests.support.sites import loaded


def context(directory: Path, *, dry_run: bool = False) -> Context:
    """A run whose cloud is never asked."""
    return Context(
        site=loaded(directory), source="site.yaml", host="ctl1", cloud=Cloud(None), dry_run=dry_run
    )


def test_request_is_shown_without_secrets() -> None:
    """The line has method, path and body, and three dots for a password at any depth."""
    request = Request(
        service=Service.IDENTITY,
        method="POST",
        path="/users",
        body={"user": {"name": "octavia", "password": "hidden"}},
    )
    assert str(request) == 'identity: POST /users {"user": {"name": "octavia", "password": "…"}}'
    assert "hidden" not in repr(request)
    assert str(
        Request(service=Service.IMAGE, method="PUT", path="/images/i/file", file=Path("/x"))
    ) == "image: PUT /images/i/file < /x"  # fmt: skip
    assert str(
        Request(service=Service.COMPUTE, method="DELETE", path="/flavors/f", microversion="2.55")
    ) == "compute: DELETE /flavors/f (version 2.55)"  # fmt: skip


def answered(status: int, words: str) -> Exception:
    """What openstacksdk raises for an answer of Neutron."""
    response = requests.Response()
    response.status_code = status
    response.url = "http://192.0.2.1:9696/v2.0/networks"
    response.headers["Content-Type"] = "application/json"
    response._content = f'{{"NeutronError": {{"message": "{words}"}}}}'.encode()
    with pytest.raises(sdk.HttpException) as caught:
        sdk.raise_from_response(response)
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answered(403, "rule:admin_only is disallowed"), "lack a right"),
        (answered(403, "Quota exceeded, too many key pairs."), "no quota is left"),
        (answered(409, "Quota exceeded for resources: ['network']."), "no quota is left"),
        (answered(409, "One or more ports have an IP"), "something is in the way"),
        (answered(413, "would exceed"), "no quota is left"),
        (answered(401, "The request requires authentication"), "look at the password"),
        (answered(404, "not found"), "it was removed meanwhile"),
        (answered(503, "no server"), "the service failed"),
        (answered(400, "bad"), "openstack --debug"),
        (auth.Unauthorized("wrong"), "look at the password"),
        (auth.ConnectFailure("refused"), "look whether the service runs"),
        (auth.SSLError("self-signed"), "look whether the service runs"),
        (auth.EndpointNotFound("none"), "not in the catalogue"),
        (auth.MissingRequiredOptions([]), "set OS_CLOUD"),
        (sdk.ConfigException("Cloud x was not found."), "set OS_CLOUD"),
    ],
)
def test_error_names_what_was_done_and_the_next_step(error: Exception, words: str) -> None:
    """Each kind of refusal has its own next step, behind what was being done and the reason."""
    assert isinstance(error, cloud_errors.ERRORS)
    told = cloud_errors.explained(error, "create network lb-mgmt-net")
    assert told.message.startswith("create network lb-mgmt-net: ")
    assert words in told.hint


def test_what_is_own_is_told_by_its_mark(tmp_path: Path) -> None:
    """A free name is None, an own resource is taken, another's and a second own one are errors."""
    run = context(tmp_path)
    mine = {"id": "1", "description": "Made by amphoractl for site octavia"}
    theirs = {"id": "2", "description": "Made by amphoractl for site octavia2"}
    assert run.own([], "network x") is None
    assert run.own([theirs, mine], "network x") == mine
    with pytest.raises(ControllerError, match=r"network x \(2\) is there already"):
        run.own([theirs], "network x")
    with pytest.raises(ControllerError, match="there are two of network x"):
        run.own([mine, {**mine, "id": "3"}], "network x")


def test_id_that_is_missing_has_a_place_in_a_dry_run_only(tmp_path: Path) -> None:
    """A dry run goes on with a word for the id; a real one names the step that is to come first."""
    assert (
        context(tmp_path, dry_run=True).id_of(None, "network x", "network") == "<id of network x>"
    )
    with pytest.raises(ControllerError, match="there is no network x") as caught:
        context(tmp_path).id_of(None, "network x", "network")
    assert caught.value.hint == "amphoractl setup network makes it"
    assert context(tmp_path).id_of({"id": "1"}, "network x", "network") == "1"
