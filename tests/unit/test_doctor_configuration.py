# SPDX-License-Identifier: Apache-2.0
"""What doctor makes of octavia.conf by itself."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from amphora_controller.doctor import configuration
from amphora_controller.doctor.findings import (
    Outcome,
)
from amphora_controller.doctor.options import Endpoint
from tests.support.doctor_options import CONF, opts, read, text

BIND = Endpoint(ip_address("192.0.2.1"), 5555)


def test_usual_file_is_well() -> None:
    """Nothing is said against a file that has everything."""
    (settings,) = configuration.settings(read(CONF))
    (controllers,) = configuration.controllers(opts(), ())
    assert (settings.outcome, controllers.outcome) == (Outcome.OK, Outcome.OK)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("heartbeat_key = key", "", "[health_manager] heartbeat_key is not set"),
        ("heartbeat_key = key", "heartbeat_key = a$b", "heartbeat_key holds a `$`"),
        ("[controller_worker]", "[haproxy_amphora]", "it stands in [haproxy_amphora]"),
        ("u:p@db", "u:p@ss@db", "the password holds an @"),
        ("@db/octavia", "@db", "it names no database"),
        ("mysql+pymysql://u", "mysql", "it is not DIALECT://"),
        ("u:p@mq", "u:p@x@mq", "host 1: the password holds an @"),
        ("u:p@mq", "u:p/x@mq", "host 1 cannot be read"),
        (
            "[database]",
            "[certificates]\nserver_certs_key_passphrase = short\n[database]",
            "entry 1 has 5 characters",
        ),
        (
            "[database]",
            "[amphora_agent]\nadmin_log_targets = h:1\n"
            "disable_local_log_storage = True\n[database]",
            "that rsyslog refuses",
        ),
    ],
)
def test_fault_of_the_file_is_told(old: str, new: str, words: str) -> None:
    """Each is named by its option, and no secret is said."""
    found = list(configuration.settings(read(text((old, new)))))
    assert any(words in note.seen for note in found), found
    assert all(note.outcome is Outcome.FAILED and note.do for note in found)
    assert "p@ss" not in str(found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("192.0.2.2:5555", "controller2:5555", "'controller2:5555' is not ADDRESS:PORT"),
        ("192.0.2.2:5555", "192.0.2.2", "is not ADDRESS:PORT"),
        ("192.0.2.2:5555", "127.0.0.1:5555", "leads every amphora to itself"),
        ("192.0.2.1:5555", "192.0.2.1:5556", "has port 5556 for this controller"),
        ("192.0.2.1:5555, ", "", "does not name this controller"),
        ("bind_ip = 192.0.2.1", "bind_ip = 127.0.0.1", "no amphora can reach that"),
        ("heartbeat_key", "heartbeat_timeout = 20\nheartbeat_key", "at an interval of 10 s"),
    ],
)
def test_fault_of_the_list_of_controllers_is_told(old: str, new: str, words: str) -> None:
    """What leads heartbeats astray is told once."""
    (note,) = configuration.controllers(opts((old, new)), ())
    assert note.outcome is Outcome.FAILED
    assert words in note.seen


def test_list_of_controllers_is_that_of_the_site() -> None:
    """Controllers that only the site has, and those that only octavia.conf has, are told."""
    third = Endpoint(ip_address("192.0.2.3"), 5555)
    found = list(configuration.controllers(opts(), (BIND, third)))
    assert ["does not name 192.0.2.3:5555" in note.seen for note in found] == [True, False]
    assert "names 192.0.2.2:5555, which is no controller" in found[1].seen


def test_secrets_stay_out_of_what_is_printed() -> None:
    """Neither key nor password stands in the representation of options."""
    said = opts(("key = key", "key = hidden-key"), ("[database]", "[service_auth]\nauth_url = x\n"
                "password = hidden-too\n[database]"))  # fmt: skip
    assert said.account.auth["password"] == "hidden-too"
    assert "hidden" not in repr(said)


def test_files_have_octavias_own_defaults() -> None:
    """What octavia.conf does not set is where Octavia looks for it."""
    assert opts().files.client_bundle == Path("/etc/octavia/certs/client.pem")
    assert len(set(opts().files.services)) == 5
