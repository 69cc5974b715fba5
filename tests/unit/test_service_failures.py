# SPDX-License-Identifier: Apache-2.0
"""A service manager that fails: what the controller is told, and what is kept."""

import uuid
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from amphora_agent.api import create_app
from amphora_agent.errors import CommandFailed
from amphora_agent.settings import Settings
from amphora_agent.wiring import build_context

LB = str(uuid.UUID("44444444-0000-4000-8000-000000000001"))
LISTENER = str(uuid.UUID("44444444-0000-4000-8000-000000000002"))
WORDS = "Unit is on strike."


class Strike:
    """A service manager that does nothing but say so.

    Args:
        active: whether it says that units run.
    """

    def __init__(self, *, active: bool) -> None:
        self._active = active

    def start(self, unit: str) -> None:
        """See amphora_agent.system.services.Services."""
        raise CommandFailed(f"`systemctl start {unit}` failed", returncode=1, output=WORDS)

    request = stop = reload = restart = start

    def is_active(self, _unit: str) -> bool:
        """See amphora_agent.system.services.Services."""
        return self._active


@pytest.fixture(params=[False, True], ids=["down", "up"])
def client(tmp_path: Path, request: pytest.FixtureRequest) -> FlaskClient:
    """The API of an amphora with a load balancer, a UDP listener and VRRP."""
    for name in (
        f"base/{LB}/haproxy.cfg",
        f"base/certs/{LB}/{'a' * 40}.pem",
        f"base/lvs/octavia-keepalivedlvs-{LISTENER}.conf",
        "base/vrrp/octavia-keepalived.conf",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    loaded = Settings(
        amphora_id=str(uuid.UUID(int=1)),
        base_path=tmp_path / "base",
        base_cert_dir=tmp_path / "base/certs",
        agent_server_network_dir=tmp_path / "interfaces",
        haproxy_cmd=Path("/bin/true"),
    )
    context = build_context(
        loaded,
        services=Strike(active=request.param),
        netns="amphora-of-nobody",
        config_file=tmp_path / "amphora-agent.conf",
    )
    return create_app(context).test_client()


_FAILURES = {
    f"loadbalancer/{LB}/start": "Error starting haproxy",
    f"loadbalancer/{LB}/stop": "Error stopping haproxy",
    f"loadbalancer/{LB}/reload": "Error reloading haproxy",
    **{
        f"loadbalancer/{LISTENER}/{verb}": f"Failed to {verb} keepalivedlvs listener {LISTENER}"
        for verb in ("start", "stop", "reload")
    },
    **{
        f"vrrp/{verb}": f"Failed to {verb} octavia-keepalived service"
        for verb in ("start", "stop", "reload")
    },
}


@pytest.mark.parametrize(("path", "message"), _FAILURES.items())
def test_action_that_fails_is_500_and_named(client: FlaskClient, path: str, message: str) -> None:
    """An action that the service manager does not do is 500 in the contract's words, and why."""
    answer = client.put(f"/1.0/{path}")
    told = answer.get_json()
    assert (answer.status_code, told["message"]) == (500, message)
    # A haproxy that is said to run is asked itself, and does not answer.
    is_asked = path.endswith(f"{LB}/reload") and WORDS not in told["details"]
    assert WORDS in told["details"] or (is_asked and "haproxy cannot be asked" in told["details"])


@pytest.mark.parametrize(
    ("object_id", "message"),
    [(LB, "Error stopping haproxy"), (LISTENER, "Error stopping keepalivedlvs")],
)
def test_delete_that_cannot_stop_deletes_nothing(
    client: FlaskClient, tmp_path: Path, object_id: str, message: str
) -> None:
    """What does not stop is 500 in the contract's words, and its files are still there."""

    def own() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if object_id in str(path)} - {
            # Tells the check of VRRP that nobody has to answer any more.
            tmp_path / "base" / LB / "stopped"
        }

    before = own()
    answer = client.delete(f"/1.0/listeners/{object_id}")
    told = answer.get_json()
    assert (answer.status_code, told["message"]) == (500, message)
    assert WORDS in told["details"]
    assert own() == before
