# SPDX-License-Identifier: Apache-2.0
"""amphora-agent.conf into Settings."""

import dataclasses
from pathlib import Path

import markupsafe
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amphora_agent import settings
from amphora_agent.errors import ConfigError
from amphora_agent.settings import Settings, TlsVersion
from amphora_agent.settings_values import Controller
from amphora_agent.topology import Topology

AMPHORA_ID = "a1b2c3d4-0000-4000-8000-000000000001"
MINIMAL = f"[amphora_agent]\namphora_id = {AMPHORA_ID}\n"

# As the controller renders it: the first line is empty, unknown keys are among the known ones.
COMPLETE = f"""
[DEFAULT]
debug = False
use_syslog = True
syslog_log_facility = LOG_LOCAL1

[haproxy_amphora]
base_cert_dir = /var/lib/octavia/certs
base_path = /var/lib/octavia
bind_host = ::
bind_port = 9443
haproxy_cmd = /usr/sbin/haproxy
user_log_facility = 3
administrative_log_facility = 4

[health_manager]
controller_ip_port_list = 192.0.2.5:5555, [2001:db8::5]:5556
heartbeat_interval = 7
heartbeat_key = insecure

[amphora_agent]
agent_server_ca = /etc/octavia/certs/client_ca.pem
agent_server_cert = /etc/octavia/certs/server.pem
agent_request_read_timeout = 180
amphora_id = {AMPHORA_ID}
amphora_udp_driver = keepalived_lvs
agent_tls_protocol = TLSv1.3

[controller_worker]
loadbalancer_topology = ACTIVE_STANDBY

[section_of_a_later_release]
key = value
"""


def parse(text: str) -> Settings:
    return settings.parse(text, source="agent.conf")


def test_settings_of_a_controller_are_read() -> None:
    """Every known key of a complete file ends up in its field."""
    parsed = parse(COMPLETE)
    assert parsed.controllers == (Controller("192.0.2.5", 5555), Controller("2001:db8::5", 5556))
    assert parsed.heartbeat_interval_s == 7
    assert parsed.heartbeat_key == "insecure"
    assert parsed.amphora_id == AMPHORA_ID
    assert parsed.tls_minimum is TlsVersion.TLS_1_3
    assert parsed.topology is Topology.ACTIVE_STANDBY
    assert parsed.debug is False
    assert parsed.use_syslog is True
    assert parsed.syslog_log_facility == "LOG_LOCAL1"
    assert (parsed.user_log_facility, parsed.administrative_log_facility) == (3, 4)


def test_settings_have_defaults() -> None:
    """A file with only the amphora's id gives the documented defaults."""
    parsed = parse(MINIMAL)
    assert (parsed.bind_host, parsed.bind_port) == ("::", 9443)
    assert parsed.base_path == Path("/var/lib/octavia")
    assert parsed.agent_server_cert == Path("/etc/octavia/certs/server.pem")
    assert parsed.heartbeat_interval_s == 10
    assert parsed.heartbeat_key is None
    assert parsed.topology is Topology.SINGLE


@pytest.mark.parametrize(
    ("section", "line", "right"),
    [
        ("haproxy_amphora", "bind_port = 70000", "a port number from 1 to 65535"),
        ("haproxy_amphora", "bind_host = everywhere", "an IPv4 or IPv6 address"),
        ("haproxy_amphora", "base_path = var/lib", "an absolute path"),
        ("haproxy_amphora", "base_path = /var/../etc", "an absolute path"),
        ("haproxy_amphora", f"base_path = /{'x' * 70}", "a shorter directory"),
        ("health_manager", "heartbeat_interval = soon", "a number of seconds"),
        ("health_manager", "heartbeat_interval = 0", "a number of seconds"),
        ("health_manager", "heartbeat_interval = nan", "a number of seconds"),
        ("health_manager", "heartbeat_message_version = 0", "since Victoria"),
        ("health_manager", "heartbeat_message_version = new", "since Victoria"),
        ("health_manager", "heartbeat_max_bytes = 65508", "1000 to 65507"),
        ("health_manager", "heartbeat_max_bytes = -1", "1000 to 65507"),
        ("amphora_agent", "agent_tls_protocol = TLSv9", "TLSv1.2"),
        ("amphora_agent", "agent_request_read_timeout = -1", "a whole number of seconds"),
        ("controller_worker", "loadbalancer_topology = TRIPLE", "ACTIVE_STANDBY"),
        ("DEFAULT", "debug = perhaps", "True or False"),
        ("DEFAULT", "use_syslog = maybe", "True or False"),
        ("DEFAULT", "syslog_log_facility = LOG_LOCAL9", "such as LOG_LOCAL1"),
        ("haproxy_amphora", "user_log_facility = 8", "0 to 7"),
        ("haproxy_amphora", "administrative_log_facility = local1", "0 to 7"),
        ("amphora_agent", "administrative_log_facility = -1", "0 to 7"),
    ],
)
def test_settings_bad_value_names_its_place(section: str, line: str, right: str) -> None:
    """A bad value names file, section and key, and says what would be right."""
    key, _, _ = line.partition(" = ")
    with pytest.raises(ConfigError) as caught:
        parse(f"{MINIMAL}[{section}]\n{line}\n")
    assert caught.value.message.startswith(f"agent.conf: [{section}] {key} = ")
    assert right in caught.value.details


@pytest.mark.parametrize("value", ["", "not-a-uuid", "a1b2c3d4-0000-4000-8000-00000000000g"])
def test_settings_amphora_id_must_be_a_uuid(value: str) -> None:
    """The id that names the amphora to the controller has no fallback."""
    with pytest.raises(ConfigError, match=r"\[amphora_agent\] amphora_id = "):
        parse(f"[amphora_agent]\namphora_id = {value}\n")


def test_settings_amphora_id_is_required() -> None:
    """A file without the amphora's id says that it is missing."""
    with pytest.raises(ConfigError, match=r"\[amphora_agent\] amphora_id is missing"):
        parse("[amphora_agent]\n")


def test_settings_one_bad_controller_hides_no_other() -> None:
    """Good entries of the list stay when others cannot be understood."""
    text = "[health_manager]\ncontroller_ip_port_list = 192.0.2.1:5555, nonsense, ,[::1:5,c2:5555\n"
    parsed = parse(text + MINIMAL)
    assert parsed.controllers == (Controller("192.0.2.1", 5555), Controller("c2", 5555))
    assert parsed.bad_controllers == ("nonsense", "[::1:5")


def test_settings_bare_ipv6_controller_is_cut_at_the_last_colon() -> None:
    """`v6:port` without brackets is an address and a port."""
    parsed = parse(f"[health_manager]\ncontroller_ip_port_list = fd00::2:5555\n{MINIMAL}")
    assert parsed.controllers == (Controller("fd00::2", 5555),)


def test_settings_quotes_are_taken_away_once() -> None:
    """One pair of quotes around a value does not belong to it, a second one does."""
    parsed = parse(f"[health_manager]\nheartbeat_key = \"'key'\"\n{MINIMAL}")
    assert parsed.heartbeat_key == "'key'"


def test_settings_facilities_of_the_right_section_win() -> None:
    """A facility in [amphora_agent] counts more than one where controllers write it."""
    parsed = parse(
        "[haproxy_amphora]\nuser_log_facility = 2\nadministrative_log_facility = 3\n"
        f"{MINIMAL}user_log_facility = 4\n"
    )
    assert (parsed.user_log_facility, parsed.administrative_log_facility) == (4, 3)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a&amp;b", "a&b"),
        ("&lt;k&gt;&#39;&#34;", "<k>'\""),
        ("&#39;whole&#39;", "'whole'"),
        ("a&amp;amp;b&amp;#39;", "a&b'"),
        # Once: the entity beside a plain ampersand is text.
        ("a&amp;b&amp;lt;", "a&b&lt;"),
        # Not written by Jinja, so not touched.
        ("a&b", "a&b"),
        ("a&amp;b&", "a&amp;b&"),
        ("a&amp;b'", "a&amp;b'"),
        ('"a&amp;b"', "a&amp;b"),
        ("&quot;&nbsp;&#x27;", "&quot;&nbsp;&#x27;"),
        # The two cases that are decided without knowing.
        ("a&amp;lt;b", "a<b"),
    ],
)
def test_settings_entities_are_undone_where_jinja_wrote_them(written: str, read: str) -> None:
    """A value is unescaped once or twice if all of it was escaped, and left alone otherwise."""
    assert parse(f"[health_manager]\nheartbeat_key = {written}\n{MINIMAL}").heartbeat_key == read


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("C", "Z")),
        min_size=1,
    ),
    st.sampled_from((1, 2)),
)
def test_settings_key_is_the_one_of_the_controller(key: str, times: int) -> None:
    """Any key without spaces, escaped by Jinja's own code once or twice, comes out as it was."""
    assume(key != "None" and "&" not in key)
    rendered = key
    for _ in range(times):
        rendered = str(markupsafe.escape(rendered))
    text = f"[health_manager]\nheartbeat_key = {rendered}\n{MINIMAL}"
    assert parse(text).heartbeat_key == key


@pytest.mark.parametrize("key", ["a$b", "a$$b", "$base_path", "${x}"])
def test_settings_dollar_signs_are_plain(key: str) -> None:
    """A dollar sign is one of the key that the controller verifies with."""
    assert parse(f"[health_manager]\nheartbeat_key = {key}\n{MINIMAL}").heartbeat_key == key


def test_settings_live_values_are_taken_over_alone() -> None:
    """Of a changed file, what Octavia calls mutable takes effect and the rest is named."""
    before = parse(MINIMAL)
    loaded = parse(COMPLETE.replace("debug = False", "debug = True"))
    after = settings.take_over(before, loaded)
    assert after.debug
    assert after.controllers == loaded.controllers
    assert after.heartbeat_interval_s == 7
    assert after.heartbeat_key == "insecure"
    assert after.topology is Topology.ACTIVE_STANDBY
    assert after.tls_minimum is TlsVersion.TLS_1_2
    assert settings.postponed(after, loaded) == (
        "[amphora_agent] user_log_facility",
        "[amphora_agent] administrative_log_facility",
        "[amphora_agent] agent_tls_protocol",
    )
    assert settings.postponed(before, before) == ()


def test_settings_every_field_has_its_place() -> None:
    """No field of Settings is left out of the table that says what is live."""
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert fields - set(settings.PLACES) == {"bad_controllers"}
    assert set(settings.PLACES) <= fields


def test_settings_percent_signs_are_plain() -> None:
    """A percent sign in a key is not an interpolation."""
    assert parse(f"[health_manager]\nheartbeat_key = %(x)s%\n{MINIMAL}").heartbeat_key == "%(x)s%"


def test_settings_unset_key_is_none() -> None:
    """The controller writes None for a key that nobody set."""
    assert parse(f"[health_manager]\nheartbeat_key = None\n{MINIMAL}").heartbeat_key is None


def test_settings_key_is_not_shown() -> None:
    """The heartbeat key does not end up in logs that show settings."""
    parsed = parse(f"[health_manager]\nheartbeat_key = secret-word\n{MINIMAL}")
    assert "secret-word" not in repr(parsed)


def test_settings_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file is an error with its path."""
    path = tmp_path / "agent.conf"
    with pytest.raises(ConfigError) as caught:
        settings.load(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("content", [b"no section\n", b"[amphora_agent\n", b"\xff\xfe"])
def test_settings_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that is not INI or not text is an error with its path, on one line."""
    path = tmp_path / "agent.conf"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        settings.load(path)
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)


def test_settings_broken_file_is_not_quoted() -> None:
    """The error for a line that is not INI gives its number and does not show a secret in it."""
    with pytest.raises(ConfigError) as caught:
        parse("[health_manager]\nheartbeat_key secret-word\n")
    assert "line 2" in caught.value.details
    assert "secret-word" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        parse("heartbeat_key = secret-word\n")
    assert "line 1" in caught.value.details
    assert "secret-word" not in str(caught.value)
