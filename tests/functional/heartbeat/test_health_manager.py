# SPDX-License-Identifier: Apache-2.0
"""Octavia's own health manager and database, fed by the agent, the sender, haproxy, keepalived."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.functional.conftest import LOOPBACK, REPOSITORY, Place
from tests.functional.keepalived_configs import lvs_config, vrrp_config
from tests.support import heartbeats, http_member, need, waiting
from tests.support.heartbeat_lab import end
from tests.support.mutual_tls import Client
from tests.support.octavia_health import HealthManager, health_manager

pytestmark = pytest.mark.slow

KEY = "key-of-this-test"
INTERVAL_S = 0.5
# Of the controller: what is 60 s in a deployment.
TIMEOUT_S = 3
ADDRESS = "198.51.100.4"
_DEADLINE_S = 30


@dataclass(kw_only=True)
class Story:
    """An amphora with one load balancer, and the health manager that hears it."""

    place: Place
    client: Client
    manager: HealthManager
    stack: ExitStack
    lb_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    ports: dict[str, int] = field(default_factory=dict)
    sender: subprocess.Popen[bytes] | None = None

    def start_sender(self) -> None:
        """Start the sender, in the namespace of the agent."""
        config = self.place.directory / "heartbeat.conf"
        config.write_text(
            f"[haproxy_amphora]\nbase_path = {self.place.base}\n"
            f"[health_manager]\ncontroller_ip_port_list = {LOOPBACK}:{heartbeats.PORT}\n"
            f"heartbeat_interval = {INTERVAL_S}\nheartbeat_key = {KEY}\n"
            f"[amphora_agent]\namphora_id = {self.place.amphora_id}\n"
        )
        with (self.place.directory / "sender.log").open("ab") as log:
            self.sender = subprocess.Popen(
                self.place.outer.command(
                    *(sys.executable, "-W", "error", "-m", "amphora_agent.heartbeat_sender"),
                    *("--config-file", str(config)),
                ),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.stack.callback(end, self.sender)

    def push(self, ports: dict[str, int]) -> None:
        """Upload haproxy's configuration with these listeners and reload, as a controller does."""
        self.ports = ports
        base, lb_id = self.place.base, self.lb_id
        text = f"""global
    stats socket {base}/{lb_id}.sock mode 0666 level user
    maxconn 500
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
"""
        for listener_id, port in ports.items():
            text += f"""frontend {listener_id}
    bind {LOOPBACK}:{port}
    http-request return status 200 content-type text/plain string hello
"""
        path = f"/1.0/loadbalancer/{self.place.amphora_id}/{lb_id}/haproxy"
        assert self.client.request("PUT", path, text.encode()).status == 202
        assert self.client.request("PUT", f"/1.0/loadbalancer/{lb_id}/reload").status == 202

    def change(self, ports: dict[str, int]) -> None:
        """Change the listeners; meanwhile the controller ignores how many there are."""
        self.manager.set_provisioning(self.lb_id, "PENDING_UPDATE")
        for listener_id in ports.keys() - self.ports.keys():
            self.manager.add_listener(listener_id, self.lb_id)
        gone = self.ports.keys() - ports.keys()
        self.push(ports)
        for listener_id in gone:
            self.manager.call("remove", table="listener", row_id=listener_id)
        self.feed_for(2 * INTERVAL_S)
        self.manager.set_provisioning(self.lb_id, "ACTIVE")

    def serve(self, listener_id: str, requests: int) -> None:
        """Ask a listener so often."""
        for _ in range(requests):
            answer = http_member.fetch(self.place.inner, LOOPBACK, self.ports[listener_id])
            assert answer.text == "hello"

    def feed_for(self, seconds: float) -> list[set[str]]:
        """Take heartbeats in for a while; the statuses after each."""
        seen = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            if self.manager.feed():
                seen.append(self.manager.statuses())
            time.sleep(0.05)
        return seen

    def await_online(self) -> None:
        """Wait until load balancer and listeners are ONLINE."""

        def online() -> bool | None:
            self.manager.feed()
            return self.manager.statuses() == {"ONLINE"} or None

        waiting.until("all ONLINE", online, deadline_s=_DEADLINE_S, every_s=0.1)

    def await_stale(self, amphora_id: str | None) -> float:
        """Wait until this amphora (None: none) is to be replaced; seconds that it took."""
        begin = time.monotonic()

        def stale() -> bool | None:
            self.manager.feed()
            return self.manager.call("stale") == amphora_id or None

        waiting.until(f"stale to be {amphora_id}", stale, deadline_s=_DEADLINE_S, every_s=0.1)
        return time.monotonic() - begin


@pytest.fixture
def story(agent: Place, controller: Client, tmp_path: Path) -> Iterator[Story]:
    """An amphora with one listener that is ONLINE."""
    with ExitStack() as stack:
        heard = stack.enter_context(heartbeats.listener(agent.outer, LOOPBACK))
        manager = stack.enter_context(health_manager(heard, tmp_path, key=KEY, timeout_s=TIMEOUT_S))
        made = Story(place=agent, client=controller, manager=manager, stack=stack)
        manager.add_load_balancer(made.lb_id, str(agent.amphora_id))
        listener_id = str(uuid.uuid4())
        manager.add_listener(listener_id, made.lb_id)
        made.push({listener_id: 8001})
        made.start_sender()
        made.await_online()
        yield made
        assert controller.request("DELETE", f"/1.0/listeners/{made.lb_id}").status == 200
        assert "Traceback" not in (agent.directory / "sender.log").read_text()


def test_amphora_stays_online_through_reloads_restarts_and_listener_changes(story: Story) -> None:
    """Nothing is ever other than ONLINE, nothing stale, and sessions are counted exactly."""
    [first] = story.ports
    seen = []
    for _ in range(3):
        story.serve(first, 4)
        story.push(story.ports)
        seen += story.feed_for(2 * INTERVAL_S)
    assert story.sender is not None
    story.sender.send_signal(signal.SIGKILL)
    story.sender.wait(timeout=_DEADLINE_S)
    story.serve(first, 3)
    story.start_sender()
    seen += story.feed_for(3 * INTERVAL_S)
    assert story.manager.call("stale") is None

    second = str(uuid.uuid4())
    story.change({first: 8001, second: 8002})
    story.await_online()
    story.serve(second, 5)
    seen += story.feed_for(TIMEOUT_S + 2 * INTERVAL_S)
    story.change({second: 8002})
    story.await_online()
    seen += story.feed_for(TIMEOUT_S + 2 * INTERVAL_S)
    assert seen
    assert {frozenset(statuses) for statuses in seen} == {frozenset({"ONLINE"})}
    assert story.manager.call("stale") is None
    counted = story.manager.call("statistics")
    assert {name: row["totconns"] for name, row in counted.items()} == {first: 15, second: 5}


def test_udp_listener_counts_as_long_as_its_keepalived_lives(story: Story) -> None:
    """With a UDP listener the amphora is fresh, without its keepalived it goes stale."""
    need.programs("keepalived")
    udp = str(uuid.uuid4())
    story.manager.set_provisioning(story.lb_id, "PENDING_UPDATE")
    story.manager.add_listener(udp, story.lb_id, protocol="UDP")
    path = f"/1.0/listeners/{story.place.amphora_id}/{udp}/udp_listener"
    config = lvs_config(story.place.inner.name, udp)
    assert story.client.request("PUT", path, config).status == 200
    assert story.client.request("PUT", f"/1.0/loadbalancer/{udp}/start").status == 202
    story.manager.set_provisioning(story.lb_id, "ACTIVE")
    story.await_online()
    story.feed_for(TIMEOUT_S + 2 * INTERVAL_S)
    assert story.manager.call("stale") is None
    pid = int((story.place.base / f"lvs/octavia-keepalivedlvs-{udp}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    story.await_stale(str(story.place.amphora_id))
    assert story.client.request("DELETE", f"/1.0/listeners/{udp}").status == 200
    story.manager.call("remove", table="listener", row_id=udp)
    story.await_stale(None)


def test_listener_that_is_not_served_makes_the_amphora_stale(story: Story) -> None:
    """One enabled listener more than is served, and the controller gets no sign of life."""
    extra = str(uuid.uuid4())
    story.manager.add_listener(extra, story.lb_id)
    story.await_stale(str(story.place.amphora_id))
    assert story.manager.statuses() == {"ONLINE", "ERROR"}
    story.manager.call("remove", table="listener", row_id=extra)
    story.await_stale(None)
    story.await_online()


def test_amphora_goes_stale_when_keepalived_dies(story: Story) -> None:
    """Fresh while keepalived of the pair lives; without it stale within the time-out."""
    need.programs("keepalived")
    inner, outer = story.place.inner, story.place.outer
    outer.ip("link", "set", "nic0", "name", "eth1", "netns", inner.name)
    inner.ip("address", "add", f"{ADDRESS}/24", "dev", "eth1")
    inner.ip("link", "set", "eth1", "up")
    config = vrrp_config(story.place.base, interface="eth1", address=ADDRESS, vip="198.51.100.9")
    assert story.client.request("PUT", "/1.0/vrrp/upload", config).status == 200
    assert story.client.request("PUT", "/1.0/vrrp/start").status == 202
    story.feed_for(TIMEOUT_S + 2 * INTERVAL_S)
    assert story.manager.call("stale") is None
    pid = int((story.place.base / "vrrp/octavia-keepalived.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    took_s = story.await_stale(str(story.place.amphora_id))
    assert took_s < TIMEOUT_S + 3
    assert story.client.request("PUT", "/1.0/vrrp/start").status == 202
    story.await_stale(None)
    assert story.client.request("PUT", "/1.0/vrrp/stop").status == 202
    for path in (story.place.base / "vrrp").glob("octavia-keepalived*"):
        path.unlink()
