# SPDX-License-Identifier: Apache-2.0
"""VRRP over the API, with the real keepalived."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import Place
from tests.functional.keepalived_configs import vrrp_config
from tests.support import need, netns
from tests.support.mutual_tls import Client

ADDRESS = "198.51.100.4"
FIELD = Path(__file__).resolve().parents[1] / "golden/field-2016/keepalived.conf"


@pytest.fixture(autouse=True)
def eth1(controller: Client, agent: Place) -> Iterator[None]:
    """The VIP's NIC with the port's address, as a plug leaves it, and no keepalived."""
    need.programs("keepalived")
    agent.outer.ip("link", "set", "nic0", "name", "eth1", "netns", agent.inner.name)
    agent.inner.ip("address", "add", f"{ADDRESS}/24", "dev", "eth1")
    agent.inner.ip("link", "set", "eth1", "up")
    yield
    assert controller.request("PUT", "/1.0/vrrp/stop").status == 202
    for path in (agent.base / "vrrp").glob("octavia-keepalived*"):
        path.unlink()
    agent.inner.ip("link", "set", "eth1", "down")
    agent.inner.ip("link", "set", "eth1", "name", "nic0", "netns", agent.outer.name)


@pytest.fixture
def config(agent: Place) -> bytes:
    """A configuration that keepalived takes, with advice about its missing peer."""
    return vrrp_config(agent.base, interface="eth1", address=ADDRESS, vip="198.51.100.9")


def keepalived_pid(agent: Place) -> int:
    """The process id in keepalived's pid file."""
    return int((agent.base / "vrrp/octavia-keepalived.pid").read_text())


def test_vrrp_config_is_stored_byte_for_byte(
    controller: Client, agent: Place, config: bytes
) -> None:
    """The upload is answered 200 with the MD5, also where `upload` could be an action."""
    for _ in range(2):
        answer = controller.request("PUT", "/1.0/vrrp/upload", config)
        assert (answer.status, answer.body) == (200, b'{"message":"OK"}')
        assert answer.headers["etag"] == hashlib.md5(config).hexdigest()
    stored = agent.base / "vrrp/octavia-keepalived.conf"
    assert (stored.read_bytes(), stored.stat().st_mode & 0o777) == (config, 0o644)


def test_vrrp_config_of_2016_is_taken(controller: Client, agent: Place) -> None:
    """What an amphora of 2016 ran is accepted, with its paths and addresses adapted."""
    text = FIELD.read_text().replace("/var/lib/octavia", str(agent.base))
    text = text.replace("192.168.235.10", ADDRESS)
    for version in ("1.0", "0.5"):
        answer = controller.request("PUT", f"/{version}/vrrp/upload", text.encode())
        assert answer.status == 200


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("priority", "priorities", "priorities"),
        ("priority 100", "priority 1000", "1000"),
        ("interface eth1", "interface eth7", "eth7"),
        ("\n}\n", "\n", "missing"),
    ],
)
def test_vrrp_config_that_keepalived_refuses_changes_nothing(
    controller: Client, agent: Place, config: bytes, *, old: str, new: str, named: str
) -> None:
    """A refused file is 400 with keepalived's words, and the one before stays."""
    assert controller.request("PUT", "/1.0/vrrp/upload", config).status == 200
    bad = config.decode().replace(old, new).encode()
    refused = controller.request("PUT", "/1.0/vrrp/upload", bad)
    assert (refused.status, refused.json()["message"]) == (400, "Invalid request")
    assert named in refused.json()["details"]
    assert (agent.base / "vrrp/octavia-keepalived.conf").read_bytes() == config


def test_vrrp_config_that_is_refused_first_leaves_none(controller: Client, agent: Place) -> None:
    """A refused first file does not arm the heartbeats' dependence on keepalived."""
    assert controller.request("PUT", "/1.0/vrrp/upload", b"nonsense\n").status == 400
    assert not (agent.base / "vrrp/octavia-keepalived.conf").exists()


def test_vrrp_start_of_a_running_one_is_a_reload(
    controller: Client, agent: Place, config: bytes
) -> None:
    """A second start keeps the process, because a restart would drop the VIP."""
    assert controller.request("PUT", "/1.0/vrrp/upload", config).status == 200
    answer = controller.request("PUT", "/1.0/vrrp/start")
    assert (answer.status, answer.json()["details"]) == (202, "keepalived started")
    pid = keepalived_pid(agent)
    assert controller.request("PUT", "/1.0/vrrp/START").status == 202
    assert controller.request("PUT", "/1.0/vrrp/reload").status == 202
    assert keepalived_pid(agent) == pid
    assert pid in agent.inner.pids()
    for _ in range(2):
        assert controller.request("PUT", "/1.0/vrrp/stop").status == 202
    assert pid not in agent.inner.pids()


def test_vrrp_action_without_a_config_says_so(controller: Client) -> None:
    """There is nothing to start before an upload, and nothing to stop either, which succeeds."""
    answer = controller.request("PUT", "/1.0/vrrp/start")
    assert answer.status == 500
    assert answer.json()["message"] == "Failed to start octavia-keepalived service"
    assert "vrrp/upload" in answer.json()["details"]
    assert controller.request("PUT", "/1.0/vrrp/stop").status == 202


def test_vrrp_action_unknown_is_400(controller: Client) -> None:
    """Only start, stop and reload are actions."""
    answer = controller.request("PUT", "/1.0/vrrp/dance")
    assert (answer.status, answer.json()["details"]) == (400, "Unknown action: dance")


def test_interface_rules_are_kept_whole(controller: Client, agent: Place) -> None:
    """The complete list replaces the one before, and an empty one empties it."""
    need.programs("nft")
    path = f"/1.0/interface/{ADDRESS}/rules"
    body = b'[{"protocol":"TCP","cidr":"192.0.2.1/24","port":80},' + (
        b'{"protocol":"vrrp","cidr":"198.51.100.5/32","port":112},'
        b'{"protocol":"UDP","cidr":null,"port":53}]'
    )
    assert controller.request("PUT", path, body).status == 200
    stored = agent.base / "nftables-vip.rules"
    assert stored.stat().st_mode & 0o777 == 0o600
    statements = ["saddr 192.0.2.0/24 tcp dport 80", "saddr 198.51.100.5 meta l4proto vrrp"]
    for statement in (*statements, "udp dport 53"):
        assert f"{statement} accept" in in_force(agent)
    assert controller.request("PUT", path, b"[]").status == 200
    assert "dport 53" not in in_force(agent) + stored.read_text()


def in_force(agent: Place) -> str:
    """The rules that the kernel has."""
    return netns.run(*agent.inner.command("nft", "list", "ruleset"))


@pytest.mark.parametrize(
    ("address", "body", "status", "where"),
    [
        ("nowhere", b"[]", 400, "Invalid IP address"),
        ("192.0.2.77", b"[]", 404, "Error interface not found for IP address"),
        (ADDRESS, b"{}", 400, "Invalid rules information"),
        (ADDRESS, b'[{"protocol":"tcp","cidr":null,"port":80}]', 400, "Invalid rules information"),
        (ADDRESS, b'[{"protocol":"TCP","port":80}]', 400, "Invalid rules information"),
        (ADDRESS, b'[{"protocol":"TCP","cidr":"x","port":80}]', 400, "Invalid rules information"),
        (ADDRESS, b'[{"protocol":"TCP","cidr":null,"port":0}]', 400, "Invalid rules information"),
        (ADDRESS, b'[{"protocol":"TCP","cidr":null,"port":80,"x":1}]', 400, "Invalid rules info"),
    ],
)
def test_interface_rules_that_are_wrong(
    controller: Client, agent: Place, *, address: str, body: bytes, status: int, where: str
) -> None:
    """Each wrong request has its own answer, and changes nothing."""
    need.programs("nft")
    assert controller.request("PUT", f"/1.0/interface/{ADDRESS}/rules", b"[]").status == 200
    stored = agent.base / "nftables-vip.rules"
    before = stored.read_bytes(), in_force(agent)
    answer = controller.request("PUT", f"/1.0/interface/{address}/rules", body)
    assert answer.status == status
    assert where in answer.body.decode()
    assert answer.json()["details"]
    assert (stored.read_bytes(), in_force(agent)) == before
