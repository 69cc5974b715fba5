# SPDX-License-Identifier: Apache-2.0
"""The certificates that `amphoractl certs` makes, between the real agent and Octavia's signer."""

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amphora_controller import cli
from amphora_controller.certificates.store import Store
from tests.functional.conftest import LOOPBACK, REPOSITORY, Place
from tests.support import need
from tests.support.mutual_tls import Client, RefusedError

PASSPHRASE = "not a secret"


@pytest.fixture(params=["rsa-2048", "ecdsa-p256"])
def certificates(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """A set made by the command."""
    monkeypatch.setenv("AMPHORA_CA_PASSPHRASE", PASSPHRASE)
    target = Store(directory=tmp_path / "certs")
    run("create", target, "--key", request.param)
    return target


def run(command: str, target: Store, *arguments: str) -> None:
    """One command of `amphoractl certs` that succeeds."""
    assert cli.main(["certs", *command.split(), "-d", str(target.directory), *arguments]) == 0


def signed_by_octavia(target: Store, place: Place) -> bytes:
    """server.pem as a controller makes it for an amphora."""
    python = os.environ.get("AMPHORA_OCTAVIA_PYTHON")
    if not python:
        need.missing("AMPHORA_OCTAVIA_PYTHON names no interpreter with Octavia; see ./test.sh")
    done = subprocess.run(
        [
            *(python, "-m", "tests.support.octavia_signer"),
            *(str(target.server_certificate), str(target.server_key)),
            *(PASSPHRASE, str(place.amphora_id)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@contextmanager
def agent(place: Place, target: Store) -> Iterator[None]:
    """An agent with what Octavia injects."""
    place.server_pem.write_bytes(signed_by_octavia(target, place))
    text = place.config_file.read_text()
    place.config_file.write_text(
        text.replace(str(place.pki.client_chain), str(target.client_chain))
    )
    process = place.start()
    try:
        place_of(place, target).await_answer()
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def place_of(place: Place, target: Store) -> Place:
    """The place, with these certificates as those of its deployment."""
    files = dataclasses.replace(
        place.pki, server_chain=target.server_chain, controller=target.client_bundle
    )
    return dataclasses.replace(place, pki=files)


def controller(place: Place, target: Store) -> Client:
    """A controller that reads the certificates as they are now."""
    return place_of(place, target).client(target.client_bundle)


def test_controller_and_amphora_take_each_other(fresh_place: Place, certificates: Store) -> None:
    """A controller with the new set is answered, and one of another deployment is not."""
    with agent(fresh_place, certificates):
        assert controller(fresh_place, certificates).get("//")[0] == 200
        with pytest.raises(RefusedError):
            fresh_place.client(fresh_place.pki.controller).get("//")


def test_authorities_are_rolled_while_the_agent_answers(
    fresh_place: Place, certificates: Store
) -> None:
    """Through all steps for both authorities and renewals between them, all requests are answered.

    The client authority's file is the agent's own here; in a deployment it comes to amphorae when
    they are made.
    """
    with agent(fresh_place, certificates):
        for purpose in ("server", "client"):
            for step in ("begin", "use"):
                run(f"roll-ca {purpose} {step}", certificates)
                assert controller(fresh_place, certificates).get("//")[0] == 200, step
            fresh_place.server_pem.write_bytes(signed_by_octavia(certificates, fresh_place))
            run(f"roll-ca {purpose} finish", certificates)
            assert controller(fresh_place, certificates).get("//")[0] == 200
            run("renew", certificates)
            assert controller(fresh_place, certificates).get("//")[0] == 200


def test_rotate_brings_an_amphora_over_to_a_new_authority(
    fresh_place: Place, certificates: Store
) -> None:
    """Between `use` and `finish` a rotation signs with the new authority, and nobody is lost."""
    with agent(fresh_place, certificates):
        for step in ("begin", "use"):
            run(f"roll-ca server {step}", certificates)
        rotated = ("amphora", "rotate", str(LOOPBACK), "-d", str(certificates.directory))
        with fresh_place.outer.entered():
            assert cli.main(rotated) == 0
        run("roll-ca server finish", certificates)
        assert controller(fresh_place, certificates).get("//")[0] == 200


def test_amphora_that_was_not_rotated_is_lost_at_the_end(
    fresh_place: Place, certificates: Store
) -> None:
    """Without the rotation the last step cuts the amphora off, so it is the rotation that helps."""
    with agent(fresh_place, certificates):
        for step in ("begin", "use", "finish"):
            run(f"roll-ca server {step}", certificates)
        with pytest.raises(RefusedError):
            controller(fresh_place, certificates).get("//")
