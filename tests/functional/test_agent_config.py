# SPDX-License-Identifier: Apache-2.0
"""PUT config and SIGHUP: what changes at once, what waits, and what is refused."""

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from amphora_agent import settings
from tests.functional.conftest import LOOPBACK, REPOSITORY, Place
from tests.support import need, waiting
from tests.support.heartbeats import Listener
from tests.support.mutual_tls import Answer, Client

_DEADLINE_S = 30.0
_MAC_BYTES = 64

# Prints what a controller with a given heartbeat key renders for an amphora.
_RENDERER = """
import json, sys
from octavia.common import config
from octavia.amphorae.backends.agent import agent_jinja_cfg
from octavia.common.jinja import user_data_jinja_cfg
asked = json.load(sys.stdin)
config.init(["--config-file", "/dev/null"])
written = asked["key"].replace("$", "$$")
config.cfg.CONF.set_override("heartbeat_key", written, "health_manager")
assert config.cfg.CONF.health_manager.heartbeat_key == asked["key"]
text = agent_jinja_cfg.AgentJinjaTemplater().build_agent_config(asked["id"], "ACTIVE_STANDBY")
user_data = user_data_jinja_cfg.UserDataJinjaCfg().build_user_data_config({"/agent.conf": text})
json.dump([text, user_data], sys.stdout)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """An agent that answers, and its process."""

    place: Place
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> Client:
        """The controller."""
        return self.place.client(self.place.pki.controller)

    def put(self, content: bytes | str) -> Answer:
        """Send a configuration."""
        data = content.encode() if isinstance(content, str) else content
        return self.client.request("PUT", "/1.0/config", data)

    def text(self, **values: object) -> str:
        """The configuration at the start, with other values for some fields of Settings."""
        text = self.place.config_file.read_text()
        for name, value in values.items():
            place = settings.PLACES[name]
            text += f"[{place.section}]\n{place.key} = {value}\n"
        return text

    def topology(self) -> str:
        """A live setting, as the agent tells it."""
        return str(self.client.request("GET", "/1.0/details").json()["topology"])

    def log(self) -> str:
        """What the agent printed."""
        return self.place.log.read_text()

    def await_log(self, words: str) -> None:
        """Wait until the agent has printed some words."""
        waiting.until(
            words, lambda: words in self.log() or None, deadline_s=_DEADLINE_S, every_s=0.05
        )


@pytest.fixture
def agent(fresh_place: Place) -> Iterator[Agent]:
    """An agent of one test's own."""
    process = fresh_place.start()
    try:
        fresh_place.await_answer()
        yield Agent(place=fresh_place, process=process)
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in fresh_place.log.read_text()


def test_config_live_values_take_effect_at_once(agent: Agent) -> None:
    """An accepted configuration is stored as sent, for its owner alone, and is in force."""
    content = agent.text(topology="ACTIVE_STANDBY", debug=True)
    answer = agent.put(content)
    assert (answer.status, answer.json()["message"]) == (202, "OK")
    assert agent.place.config_file.read_text() == content
    assert agent.place.config_file.stat().st_mode & 0o777 == 0o600
    assert agent.topology() == "ACTIVE_STANDBY"
    agent.await_log("[controller_worker] loadbalancer_topology changed")
    assert agent.put(content).status == 202


def test_config_other_values_wait_for_the_next_start(agent: Agent) -> None:
    """A new port and base path are stored and named in the log, and the agent stays as it is."""
    answer = agent.put(agent.text(bind_port=9444, base_path="/tmp/elsewhere"))
    assert answer.status == 202
    agent.await_log("[haproxy_amphora] base_path, [haproxy_amphora] bind_port will take effect")
    assert agent.client.request("GET", "/").status == 200
    answer = agent.client.request("GET", "/1.0/details")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("content", "details"),
    [
        (b"", "[amphora_agent] amphora_id is missing: it has no default"),
        (b"\xff", "is not text in UTF-8"),
        (b"[amphora_agent]\namphora_id secret\n", "line 2: right would be [section] or"),
    ],
)
def test_config_that_is_none_is_refused(agent: Agent, content: bytes, details: str) -> None:
    """What is no configuration is a 400 that names the file, and changes nothing."""
    before = agent.place.config_file.read_bytes()
    answer = agent.put(content)
    assert answer.status == 400
    assert details in answer.json()["details"]
    assert str(agent.place.config_file) in answer.json()["details"]
    assert agent.place.config_file.read_bytes() == before


def test_config_wrong_values_are_refused(agent: Agent) -> None:
    """A wrong value is a 400 that names file, section, key and what is right; nothing changes."""
    before = agent.place.config_file.read_bytes()
    other = "a1b2c3d4-0000-4000-8000-000000000001"
    for values, place, right in (
        ({"topology": "TRIPLE"}, "[controller_worker] loadbalancer_topology", "SINGLE"),
        ({"bind_port": 0}, "[haproxy_amphora] bind_port", "1 to 65535"),
        ({"amphora_id": other}, "[amphora_agent] amphora_id", str(agent.place.amphora_id)),
        ({"controllers": "192.0.2.1"}, "[health_manager] controller_ip_port_list", "ip:port"),
        ({"agent_server_ca": "/none"}, "[amphora_agent] agent_server_ca", "path of a file"),
    ):
        # What stands beside the mistake is right, and must not take effect either.
        answer = agent.put(agent.text(**{"topology": "ACTIVE_STANDBY", "debug": True, **values}))
        assert answer.status == 400, values
        assert answer.json()["details"].startswith(f"{agent.place.config_file}: {place} ")
        assert right in answer.json()["details"]
        assert agent.place.config_file.read_bytes() == before
    assert agent.topology() == "SINGLE"


def test_config_that_cannot_be_written_is_the_agents_fault(agent: Agent) -> None:
    """A directory in place of the file is a 500 in the contract's words, with the reason."""
    content = agent.text()
    agent.place.config_file.unlink()
    agent.place.config_file.mkdir()
    answer = agent.put(content)
    assert answer.status == 500
    assert answer.json()["message"] == "Unable to update amphora-agent configuration."
    assert str(agent.place.config_file) in answer.json()["details"]


def test_config_hangup_reads_the_file_again(agent: Agent) -> None:
    """After SIGHUP the file on disk is in force; a broken one is not, and the log says why."""
    agent.place.config_file.write_text(agent.text(topology="ACTIVE_STANDBY"))
    agent.process.send_signal(signal.SIGHUP)
    agent.place.await_answer()
    assert agent.topology() == "ACTIVE_STANDBY"
    agent.place.config_file.write_text(agent.text(topology="TRIPLE"))
    agent.process.send_signal(signal.SIGHUP)
    agent.place.await_answer()
    assert agent.topology() == "ACTIVE_STANDBY"
    agent.await_log("loadbalancer_topology = 'TRIPLE' is not valid")
    assert agent.process.poll() is None


@contextmanager
def ear(place: Place) -> Iterator[tuple[Listener, str]]:
    """A health manager in the agent's namespace, and its entry in the controller list."""
    with place.outer.entered():
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind((str(LOOPBACK), 0))
    listener = Listener(listening)
    try:
        yield listener, f"{LOOPBACK}:{listening.getsockname()[1]}"
    finally:
        listener.close()


def signed_with(datagram: bytes, key: str) -> bool:
    """Whether a heartbeat bears the signature of a key."""
    wanted = hmac.new(key.encode(), datagram[:-_MAC_BYTES], hashlib.sha256).hexdigest()
    return datagram[-_MAC_BYTES:] == wanted.encode()


def test_config_reaches_the_heartbeat_sender(agent: Agent) -> None:
    """The running sender goes to the new controller with the new key after PUT config alone."""
    place = agent.place
    plain = agent.text()
    with ear(place) as (first, first_entry), ear(place) as (second, second_entry):

        def content(entry: str, key: str, base: Path) -> str:
            return (
                f"{plain}[health_manager]\ncontroller_ip_port_list = {entry}\n"
                f"heartbeat_interval = 0.2\nheartbeat_key = {key}\n"
                f"[haproxy_amphora]\nbase_path = {base}\n"
            )

        assert agent.put(content(first_entry, "one", place.base)).status == 202
        journal = place.directory / "sender.log"
        with journal.open("wb") as output:
            sender = subprocess.Popen(
                place.outer.command(
                    *(sys.executable, "-W", "error", "-m", "amphora_agent.heartbeat_sender"),
                    *("--config-file", str(place.config_file)),
                ),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            assert signed_with(first.next(deadline_s=_DEADLINE_S).payload, "one")
            # The base path must wait, or the sender would report no listeners at once.
            changed = content(second_entry, "two&amp;&lt;", Path("/tmp/elsewhere"))
            assert agent.put(changed).status == 202
            assert signed_with(second.next(deadline_s=_DEADLINE_S).payload, "two&<")
            assert "[haproxy_amphora] base_path: of effect at the next start" in journal.read_text()
            # A list that would silence it is refused, and it goes on.
            assert agent.put(content("", "two", place.base)).status == 400
            assert agent.put(content(second_entry, "None", place.base)).status == 400
            assert signed_with(second.next(deadline_s=_DEADLINE_S).payload, "two&<")
        finally:
            sender.terminate()
            sender.wait(timeout=_DEADLINE_S)
        assert "Traceback" not in journal.read_text()


@pytest.fixture(scope="module")
def octavia() -> str:
    """The interpreter of the virtual environment with Octavia."""
    python = os.environ.get("AMPHORA_OCTAVIA_PYTHON", "")
    if not Path(python).is_file():
        need.missing("AMPHORA_OCTAVIA_PYTHON names no interpreter with Octavia; see ./test.sh")
    return python


@pytest.mark.parametrize("key", ["plain-key_1.", """a&b<c>'d"e""", "$x$$y", "'quoted'", "%(a)s#;="])
def test_config_of_a_controller_gives_the_controllers_key(octavia: str, key: str) -> None:
    """What Octavia itself renders, for the config drive or for user-data, holds its own key."""
    amphora_id = "a1b2c3d4-0000-4000-8000-000000000001"
    done = subprocess.run(
        [octavia, "-W", "ignore", "-c", _RENDERER],
        input=json.dumps({"key": key, "id": amphora_id}).encode(),
        capture_output=True,
        check=True,
        timeout=120,
    )
    drive, user_data = json.loads(done.stdout)
    [injected] = yaml.safe_load(user_data)["write_files"]
    for text in (drive, injected["content"]):
        parsed = settings.parse(text, source="agent.conf")
        assert parsed.heartbeat_key == key
        assert (parsed.amphora_id, parsed.topology) == (amphora_id, "ACTIVE_STANDBY")
        assert (parsed.user_log_facility, parsed.administrative_log_facility) == (0, 1)
