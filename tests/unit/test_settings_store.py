# SPDX-License-Identifier: Apache-2.0
"""The settings in force follow their file."""

import logging
from pathlib import Path

import pytest

from amphora_agent import settings
from amphora_agent.settings import Settings
from amphora_agent.system.settings_store import SettingsStore, set_log_level
from amphora_agent.topology import Topology

AMPHORA_ID = "a1b2c3d4-0000-4000-8000-000000000001"


def text(**values: object) -> bytes:
    """A configuration with the given values of [DEFAULT], [controller_worker] and so on."""
    sections = {"amphora_agent": {"amphora_id": AMPHORA_ID}}
    for name, value in values.items():
        place = settings.PLACES[name]
        sections.setdefault(place.section, {})[place.key] = str(value)
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items())
        for name, pairs in sections.items()
    ).encode()


class Held:
    """A store, its file, and what it called its observer with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[Settings] = []
        path.write_bytes(text())
        self.store = SettingsStore(path, settings.load(path), changed=self.heard.append)

    def now(self) -> Settings:
        """The settings in force."""
        return self.store.current


@pytest.fixture
def held(tmp_path: Path) -> Held:
    """A store of a file that is right."""
    return Held(tmp_path / "agent.conf")


def test_store_follows_the_file(held: Held) -> None:
    """A changed file is in force at the next question, and the observer hears of it once."""
    assert held.now().topology is Topology.SINGLE
    assert held.heard == []
    held.path.write_bytes(text(topology="ACTIVE_STANDBY"))
    assert held.now().topology is Topology.ACTIVE_STANDBY
    assert held.now() is held.now()
    assert held.heard == [held.now()]


def test_store_sees_a_change_before_its_first_question(tmp_path: Path) -> None:
    """A file that changed between loading and the store's first look is read again."""
    path = tmp_path / "agent.conf"
    path.write_bytes(text())
    loaded = settings.load(path)
    path.write_bytes(text(debug=True))
    heard: list[Settings] = []
    assert SettingsStore(path, loaded, changed=heard.append).current.debug
    assert len(heard) == 1


def test_store_keeps_the_last_good_settings_and_says_why_once(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong or missing file changes nothing and is told once, until it is right again."""
    held.path.write_bytes(text(topology="TRIPLE"))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert held.now().topology is Topology.SINGLE
        held.path.write_bytes(text(topology="TRIPLE") + b"\n")
        assert held.now().topology is Topology.SINGLE
        assert len(caplog.messages) == 1
        assert "[controller_worker] loadbalancer_topology = 'TRIPLE'" in caplog.messages[0]
        held.path.unlink()
        for _ in range(3):
            assert held.now().topology is Topology.SINGLE
        assert "is missing" in caplog.messages[1]
        held.path.write_bytes(text(topology="ACTIVE_STANDBY"))
        assert held.now().topology is Topology.ACTIVE_STANDBY
    assert "is right again" in " ".join(caplog.messages[2:])


def test_store_postpones_what_is_not_live(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    """A value that is not live stays in force, and the log says once that it waits."""
    held.path.write_bytes(text(bind_port=1234, debug=True))
    with caplog.at_level(logging.WARNING):
        assert held.now().debug
        held.path.write_bytes(text(bind_port=1234, debug=False))
        assert not held.now().debug
    assert held.now().bind_port == 9443
    assert len(caplog.messages) == 1
    assert "[haproxy_amphora] bind_port will take effect when" in caplog.messages[0]


def test_store_writes_for_the_owner_alone(held: Held) -> None:
    """A new file replaces the old one as it is, readable for its owner, and is in force at once."""
    content = b"# as sent\r\n" + text(debug=True)
    held.store.write(content)
    assert held.path.read_bytes() == content
    assert held.path.stat().st_mode & 0o777 == 0o600
    assert held.heard[-1].debug
    assert [path.name for path in held.path.parent.iterdir()] == [held.path.name]


def test_store_does_not_log_the_key(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    """A changed heartbeat key is named by its place, not by its value."""
    with caplog.at_level(logging.DEBUG):
        held.store.write(text(heartbeat_key="secret-word"))
    assert "[health_manager] heartbeat_key changed" in caplog.text
    assert "secret-word" not in caplog.text


def test_log_level_follows_debug() -> None:
    """The root logger lets debug lines through while, and only while, debug is on."""
    root = logging.getLogger()
    before = root.level
    try:
        set_log_level(Settings(amphora_id=AMPHORA_ID, debug=True))
        assert root.isEnabledFor(logging.DEBUG)
        set_log_level(Settings(amphora_id=AMPHORA_ID))
        assert not root.isEnabledFor(logging.DEBUG)
        assert root.isEnabledFor(logging.INFO)
    finally:
        root.setLevel(before)
