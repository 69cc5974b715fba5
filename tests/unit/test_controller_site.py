# SPDX-License-Identifier: Apache-2.0
"""The site's file, and octavia.conf made from it."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amphora_controller import cli, octavia_conf, oslo_conf, site
from amphora_controller.errors import ControllerError
from tests.support import need
from tests.support.sites import HARD, described, document, loaded

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The usual site in a file."""
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(document()))
    return path


def test_each_part_has_its_fault_named(tmp_path: Path) -> None:
    """What is wrong in one part does not hide what is wrong in another one, or missing."""
    changes = {"database__password": "", "messaging__hosts": [], "keystone__password": 7}
    path = tmp_path / "site.yaml"
    whole = document(**changes)
    del whole["health"]
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(ControllerError) as failure:
        site.load(path)
    assert [line.partition(": ")[0] for line in failure.value.hint.split("\n  ")] == [
        *("database.password", "messaging.hosts", "keystone.password", "health")
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"database__password": None}, "database: Object missing required field `password`"),
        ({"database__port": 70000}, "database.port: Expected `int` <= 65535"),
        ({"database__engine": "oracle"}, "database.engine: Invalid enum value 'oracle'"),
        ({"amphora__topologi": "SINGLE"}, "amphora: Object contains unknown field `topologi`"),
        ({"controllers": []}, "controllers: Expected `array` of length >= 1"),
        (
            {"controllers": [{"name": "a", "management_ip": "192.0.2.300"}]},
            "controllers[0].management_ip: '192.0.2.300' does not appear",
        ),
        (
            {"controllers": [{"name": "a", "management_ip": "192.0.2.1"}] * 2},
            "controllers: name a stands there twice\n  controllers: management_ip 192.0.2.1",
        ),
        ({"health__heartbeat_key": "too short"}, "health.heartbeat_key: at least 16"),
        ({"health__heartbeat_key": "a&b" * 10}, "do not reach amphorae as they are"),
        ({"certificates__storage_keys": ["k" * 31]}, "storage_keys[0]: exactly 32"),
        ({"management__networks": ["lb-mgmt-net"]}, "networks[0]: 'lb-mgmt-net' is not an id"),
        ({"management": {}}, "either `network` (to make) or `networks`"),
        ({"management__network": {"subnets": [{"cidr": "192.0.2.0/24"}]}}, "either `network`"),
        ({"management": {"network": {"subnets": []}}}, "management.network.subnets: Expected"),
        (
            described(cidr="192.0.2.0/24", pool=["192.0.2.9", "192.0.3.1"]),
            "subnets[0]: 192.0.3.1 is not in 192.0.2.0/24",
        ),
        (
            described(cidr="192.0.2.0/24", pool=["192.0.2.9", "192.0.2.1"]),
            "pool: 192.0.2.9 comes after",
        ),
        (described(cidr="192.0.2.0/24", address_mode="slaac"), "only IPv6 has one"),
        (described({"cidr": "192.0.2.0/24"}, cidr="198.51.100.0/24"), "two have the name lb-mgmt"),
        ({"management__controller_group": "lb-mgmt-sec-grp"}, "two groups, with two names"),
        (
            {"amphora__image": {"file": "x"}, "amphora__image_owner": "y"},
            "amphora.image_owner: the",
        ),
        ({"amphora__ssh_public_key": "/x.pub"}, "the keypair needs a name"),
        ({"certificates__root_days": 100}, "root_days >= intermediate_days >= controller_days"),
        ({"name": "a b"}, "name: Expected `str` matching"),
        ({"messaging__hosts": ["ctl1"]}, "messaging.hosts[0]: 'ctl1' is not HOST:PORT"),
        ({"logs__admin_targets": ["log-host:514"]}, "admin_targets[0]: 'log-host:514' is not"),
        (
            {"logs__admin_targets": ["192.0.2.1:514"], "logs__keep_local": False},
            "a configuration that rsyslog refuses",
        ),
    ],
)
def test_wrong_site_is_refused_with_the_place(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """What is wrong is named with its place in the file."""
    with pytest.raises(ControllerError) as caught:
        loaded(tmp_path, **changes)
    assert words in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "[1, 2", "just words", "controllers: !!python/object:os.x {}"]
)
def test_file_that_is_no_site_is_refused(tmp_path: Path, text: str) -> None:
    """An empty file, broken YAML and YAML with objects in it give an error, no traceback."""
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ControllerError, match=r"site\.yaml"):
        site.load(path)


def test_secrets_stay_out_of_what_is_printed(tmp_path: Path) -> None:
    """No password and no key stands in the representation of a site."""
    shown = repr(loaded(tmp_path))
    assert HARD not in shown
    assert "abcdefghijklmnop" not in shown
    assert "k" * 32 not in shown


def test_example_is_complete_but_for_what_only_the_operator_knows(tmp_path: Path) -> None:
    """With its passwords filled in the example is a site, and its secrets are fresh."""
    text = octavia_conf.site_example(site.new_secrets())
    assert text != octavia_conf.site_example(site.new_secrets())
    path = tmp_path / "site.yaml"
    path.write_text(text.replace('password: ""', "password: x"))
    assert site.load(path).amphora.topology == "ACTIVE_STANDBY"
    path.write_text(text)
    with pytest.raises(ControllerError):
        site.load(path)


def test_example_says_the_defaults(tmp_path: Path) -> None:
    """What stands after `#` changes nothing when it is set; what stands after `#:` can be set."""
    text = octavia_conf.site_example(site.new_secrets()).replace('password: ""', "password: x")
    path = tmp_path / "site.yaml"
    path.write_text(text)
    plain = site.load(path)
    defaults, count = re.subn(r"^( *)#([a-z])", r"\1\2", text, flags=re.MULTILINE)
    assert count > 10
    path.write_text(defaults)
    assert site.load(path) == plain
    # Of IPv6, in an IPv4 subnet.
    examples = re.sub(r"^ *#: address_mode.*\n", "", text, flags=re.MULTILINE)
    path.write_text(re.sub(r"^( *)#: ", r"\1", examples, flags=re.MULTILINE))
    assert site.load(path).amphora.image is not None


# octavia.conf


def as_octavia_reads(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Values by section, and options that Octavia does not know."""
    python = os.environ.get("AMPHORA_OCTAVIA_PYTHON")
    if not python:
        need.missing("AMPHORA_OCTAVIA_PYTHON names no interpreter with Octavia; see ./test.sh")
    done = subprocess.run(
        [python, "-W", "ignore", "-m", "tests.support.octavia_options", str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    return answer["values"], answer["unknown"]


def test_rendered_file_is_what_octavia_reads(tmp_path: Path) -> None:
    """Octavia's own options take every line, and hard passwords come out as they went in."""
    whole = loaded(
        tmp_path,
        logs__admin_targets=["192.0.2.11:10514"],
        logs__tenant_targets=["[2001:db8::1]:20514"],
        logs__forward_all=True,
        logs__keep_local=False,
        amphora__ssh_key="key",
        amphora__image_owner="owner",
        keystone__cafile="/etc/ssl/ca.pem",
        keystone__memcached=["ctl1:11211"],
    )
    path = tmp_path / "octavia.conf"
    path.write_text(
        octavia_conf.render(
            whole, whole.controller("ctl2"), octavia_conf.stated_ids(whole), "site.yaml"
        )
    )
    values, unknown = as_octavia_reads(path)
    assert unknown == []
    assert values["keystone_authtoken"]["password"] == values["service_auth"]["password"] == HARD
    assert values["certificates"]["ca_private_key_passphrase"] == HARD
    assert values["certificates"]["server_certs_key_passphrase"] == ["k" * 32, "l" * 32]
    for section, option in (("database", "connection"), ("DEFAULT", "transport_url")):
        url = values[section][option]
        first = urlsplit(url.partition(",")[0])
        assert unquote(first.password or "") == HARD, url
    assert values["health_manager"]["bind_ip"] == "2001:db8::12"
    assert values["health_manager"]["controller_ip_port_list"] == [
        "192.0.2.11:5555",
        "[2001:db8::12]:5555",
    ]
    assert values["controller_worker"]["loadbalancer_topology"] == "ACTIVE_STANDBY"
    assert values["amphora_agent"]["disable_local_log_storage"] is True
    retries = values["haproxy_amphora"]
    assert retries["connection_max_retries"] * retries["connection_retry_interval"] == 600


def test_option_that_octavia_does_not_know_would_show(tmp_path: Path) -> None:
    """The judge of the test before does tell an unknown option."""
    path = tmp_path / "octavia.conf"
    path.write_text("[haproxy_amphora]\nserver_ca = /x\nserver_caa = /y\n")
    assert as_octavia_reads(path)[1] == ["haproxy_amphora.server_caa"]


@given(
    value=st.text(
        st.one_of(
            st.sampled_from("\\$\"'"),
            st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]),
        ),
        min_size=1,
    )
)
def test_value_stays_one_line_and_is_read_back(value: str) -> None:
    """A value is read back by the rules of oslo.config as it was, whatever is in it."""
    text = f"[x]\ny = {octavia_conf.value_text('y', value)}\nz = 1\n"
    options = oslo_conf.parse(text, "x.conf")["x"]
    assert (oslo_conf.resolved("y", options["y"]), options["z"]) == (value, "1")


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\x1bb"])
def test_value_with_a_line_end_is_refused(value: str) -> None:
    """No value can begin an option of its own."""
    with pytest.raises(ControllerError, match="control characters"):
        octavia_conf.value_text("database.password", value)


# The commands


def test_init_writes_a_file_for_root_alone_and_never_over_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second init leaves the file and says so."""
    path = tmp_path / "site.yaml"
    assert cli.main(["site", "init", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert cli.main(["site", "init", str(path)]) == 3
    assert path.read_bytes() == before
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["site", "check", str(path)]) == 3


def test_config_again_changes_nothing(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second run writes nothing and says so; a change keeps the file before."""
    output = tmp_path / "etc" / "octavia.conf"
    arguments = ["config", "-s", str(written), "--controller", "ctl1", "-o", str(output)]
    assert cli.main(arguments) == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    first, changed_at = output.read_text(), output.stat().st_mtime_ns
    assert cli.main(arguments) == 0
    assert output.stat().st_mtime_ns == changed_at
    assert "nothing was changed" in capsys.readouterr().out
    written.write_text(yaml.safe_dump(document(amphora__flavor="f2")))
    assert cli.main(arguments) == 0
    assert "amp_flavor_id = f2" in output.read_text()
    assert output.with_name("octavia.conf.before").read_text() == first


def test_dry_run_shows_the_change_without_secrets(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The difference is printed, no secret is, and nothing is written."""
    output = tmp_path / "octavia.conf"
    arguments = ["config", "-s", str(written), "--controller", "ctl1", "-o", str(output)]
    assert cli.main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "+bind_ip = 192.0.2.11" in shown
    assert "EXAMPLE-PASSWORD" not in shown
    assert "abcdefghijklmnop" not in shown
    assert "k" * 32 not in shown
    assert not output.exists()


def test_unknown_controller_is_named_with_those_there_are(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host that is not in the site is an error that lists the others."""
    assert cli.main(["config", "-s", str(written), "--controller", "ctl9"]) == 3
    assert "it has ctl1, ctl2" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["setup", "teardown"])
def test_step_that_is_not_there_is_named_with_those_there_are(
    written: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A wrong name of a step is an error that lists the right ones, before anything is asked."""
    assert cli.main([command, "netwrok", "-s", str(written)]) == 3
    shown = capsys.readouterr().err
    assert "there is no step netwrok" in shown
    assert "keystone, certs, image" in shown


def test_config_needs_ids_in_the_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the site says what to make, config names the command that knows its ids."""
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(document(**described(cidr="192.0.2.0/24"))))
    arguments = ["config", "-s", str(path), "--controller", "ctl1", "-o", str(tmp_path / "conf")]
    assert cli.main(arguments) == 3
    shown = capsys.readouterr().err
    assert "the site has no ids in management.networks" in shown
    assert "amphoractl setup config" in shown
    assert not (tmp_path / "conf").exists()
