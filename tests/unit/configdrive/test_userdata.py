# SPDX-License-Identifier: Apache-2.0
"""user_data, good and odd."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from amphora_agent.configdrive.userdata import UserData, _usual_user_data, user_data
from amphora_agent.errors import ParseError
from tests.unit.configdrive.documents import UNHURRIED

USUAL = (
    "#cloud-config\n# it's a comment\n\nruncmd:\n-   systemctl restart rsyslog\n\n\ntimezone: UTC"
)
USER_DATA_LINES = [
    *("#cloud-config", "# comment", "", " ", "\t", "---", "...", "a: b", "  more", "- x"),
    *("runcmd:", "-   systemctl restart rsyslog", "timezone: UTC", "timezone: Europe/Zurich"),
    *("timezone: America/New_York", "timezone: UTC # x", "timezone: 'UTC'", "timezone: No"),
]


def test_user_data_of_octavia_is_read() -> None:
    """The usual document gives a time zone, and nothing to complain of."""
    assert user_data(USUAL.encode()) == UserData(timezone="UTC")


def test_user_data_write_files_are_read() -> None:
    """Content as it is, with the escapes that the controller left in it; a mode that fits."""
    text = (
        "#cloud-config\n"
        "write_files:\n"
        "-   path: /etc/octavia/amphora-agent.conf\n"
        "    content: |\n"
        "        \n"
        "        heartbeat_key = a&amp;amp;b\n"
        "-   {path: /etc/x, content: x, permissions: 0750, owner: root:root}\n"
        "-   {path: /etc/octavia/certs/server.pem, content: x, permissions: '0644'}\n"
        "-   {path: /etc/y}\n"
        "runcmd:\n"
        "-   systemctl restart rsyslog\n"
        "-   service amphora-agent restart\n"
    )
    data = user_data(text.encode())
    assert [(str(file.path), file.content, oct(file.mode)) for file in data.files] == [
        ("/etc/octavia/amphora-agent.conf", b"\nheartbeat_key = a&amp;amp;b\n", "0o600"),
        ("/etc/x", b"x", "0o750"),
        ("/etc/octavia/certs/server.pem", b"x", "0o600"),
        ("/etc/y", b"", "0o644"),
    ]
    assert (data.problems, data.ignored, data.timezone) == ((), (), None)


@pytest.mark.parametrize(
    "entry",
    [
        "{path: ../x}",
        "{path: x}",
        "{content: x}",
        "{path: /x, encoding: b64}",
        "{path: /x, append: true}",
        "{path: /x, owner: nobody}",
        "{path: /x, permissions: 4755}",
        "{path: /x, permissions: rw}",
        "{path: /x, content: [x]}",
        '{path: /x, content: "\\ud800"}',
        "7",
    ],
)
def test_user_data_file_that_cannot_be_written_is_a_problem(entry: str) -> None:
    """The entry is told by its number; the good one after it is kept."""
    text = f"#cloud-config\nwrite_files:\n- {entry}\n- {{path: /good}}\n"
    data = user_data(text.encode())
    assert [str(file.path) for file in data.files] == ["/good"]
    [problem] = data.problems
    assert problem.startswith("write_files[0]: ")


def test_user_data_other_keys_are_named() -> None:
    """A command that Octavia does not send counts as one: it would have no effect."""
    text = "#cloud-config\npackages: [x]\nruncmd: [reboot]\ntimezone: UTC\n"
    assert user_data(text.encode()).ignored == ("packages", "runcmd")


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/passwd", "a b", "[x]", "Europe/", "."])
def test_user_data_time_zone_that_is_a_path_is_a_problem(zone: str) -> None:
    """A zone is a name in the zone database and cannot lead out of it."""
    data = user_data(f"#cloud-config\ntimezone: {zone}\n".encode())
    assert data.timezone is None
    assert "timezone" in data.problems[0]


@pytest.mark.parametrize("data", [b"", b"\n", b"#cloud-config", b"#cloud-config\n# nothing\n"])
def test_user_data_may_be_empty(data: bytes) -> None:
    """Nothing asked for is no mistake."""
    assert user_data(data) == UserData()


@pytest.mark.parametrize(
    "data",
    [
        b"#!/bin/sh\n",
        b"\x1f\x8b",
        b"#cloud-config\n\xff",
        b"#cloud-config\n- a\n",
        b"#cloud-config\na: [\n",
        b"#cloud-config\n" + b"[" * 20000,
        b'#cloud-config\na: "\\UFFFFFFFF"\n',
    ],
)
def test_user_data_of_another_kind_is_refused(data: bytes) -> None:
    """Scripts, archives, broken and bottomless YAML end in the module's own error."""
    with pytest.raises(ParseError):
        user_data(data)


@UNHURRIED
@given(st.lists(st.sampled_from(USER_DATA_LINES), max_size=9))
@example(USUAL.splitlines()[1:])
def test_user_data_without_yaml_equals_user_data_with_yaml(lines: list[str]) -> None:
    """Where the short way gives an answer, a YAML library gives the same."""
    text = "\n".join(["#cloud-config", *lines])
    usual = _usual_user_data(text)
    if usual is not None:
        assert usual == yaml.safe_load(text)


def test_user_data_of_octavia_needs_no_yaml() -> None:
    """The usual document takes the short way, one with files does not."""
    assert _usual_user_data(USUAL) is not None
    assert _usual_user_data(f"{USUAL}\nwrite_files: []\n") is None
