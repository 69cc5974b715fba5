# SPDX-License-Identifier: Apache-2.0
"""The command: what it is given, what it prints, and what it does without a network's fault."""

import socket
import time
from pathlib import Path

import pytest
import yaml

from amphora_controller import cli
from tests.support import doctor_lab
from tests.support.doctor_faults import A
from tests.support.doctor_lab import KEY, Lab
from tests.support.octavia_api import CLOUD, new_id, octavia_api


def test_keystone_that_does_not_answer_is_named(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listens at Keystone's address, the account fails, and nothing else does."""
    well.configure(account=_account(9))
    with well.sending():
        failure = well.doctor(capsys).failure
    assert failure["hop"] == "account"
    assert "Unable to establish connection" in failure["seen"]


@pytest.mark.slow
def test_keystone_that_hangs_is_told_as_that(well: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A cloud that takes connections and says nothing is unknown, once, and delays no other hop."""
    with well.controller.entered():
        listener = socket.create_server(("127.0.0.1", 0))
    well.configure(account=_account(listener.getsockname()[1]))
    begun = time.monotonic()
    with listener, well.sending():
        found = well.doctor(capsys, "--limit", "4")
    assert time.monotonic() - begun < 6
    assert found.status == 2
    assert found.hops("unknown") == ["account"]
    assert found.hops("FAILED") == []
    assert f"{A} heartbeats" in found.hops("ok")


def _account(port: int) -> str:
    return (
        f"auth_url = http://127.0.0.1:{port}\nusername = octavia\npassword = secret\n"
        "project_name = service\nuser_domain_name = Default\nproject_domain_name = Default\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[health_manager\n", "octavia.conf is no configuration file, see line 1"),
        ("[health_manager]\nbind_ip = here\n", "'here', not an address"),
        ("[health_manager]\nbind_port = many\n", "'many', not a number"),
    ],
)
def test_octavia_conf_that_octavia_refuses_is_named(
    well: Lab, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """A file that oslo.config refuses is the only thing that is told."""
    well.conf.write_text(text)
    found = well.doctor(capsys)
    assert [row["hop"] for row in found.rows] == ["octavia.conf"]
    assert words in found.failure["seen"]


def test_octavia_conf_is_compared_with_the_site(
    well: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not as the site says is named by its name, not by its value; equal files are ok."""
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(doctor_lab.site_document(well.files.directory)))
    site = ("--site", str(path), "--controller", "one")
    well.configure(account=None)
    with well.sending():
        assert "site" in well.doctor(capsys, *site).hops("ok")
        well.configure((f"heartbeat_key = {KEY}", "heartbeat_key = other"), account=None)
        (row,) = [row for row in well.doctor(capsys, *site).rows if row["hop"] == "site"]
    assert row["outcome"] == "FAILED"
    assert row["seen"] == "not as site.yaml says: [health_manager] heartbeat_key"


def test_lines_for_people_have_no_colours_in_a_file(
    well: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed to something that is no terminal, each hop is a plain line, advice one below it."""
    with well.controller.entered(), well.sending(key="another-key"):
        status = cli.main(["doctor", "--octavia-conf", str(well.conf), "--amphora", A])
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "ok      octavia.conf: everything that amphorae depend on is set"
    assert f"FAILED  {A} heartbeats: " in lines[-3]
    assert lines[-2].startswith("        do: ")
    assert lines[-1].startswith(f"failed: {A} heartbeats (")


@pytest.mark.slow
def test_amphorae_of_a_load_balancer_are_those_that_octavia_tells(
    well: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Octavia's API gives address and id; a load balancer that it does not know is refused."""
    lb_id, amphora_id = new_id(), str(well.place.amphora_id)
    with octavia_api(well.controller, tmp_path) as api, well.sending():
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(api.clouds_yaml))
        api.add_load_balancer(lb_id, vip="198.51.100.7")
        api.add_amphora(
            **{"id": amphora_id, "load_balancer_id": lb_id, "lb_network_ip": A},
            **{"ha_ip": "198.51.100.7", "role": "STANDALONE", "status": "ALLOCATED"},
        )
        found = well.doctor(capsys, "--of", lb_id, "--os-cloud", CLOUD, amphora="")
        with well.controller.entered():
            assert cli.main(["doctor", "--of", new_id(), "--os-cloud", CLOUD]) == 3
    assert found.hops("FAILED") == []
    (row,) = [row for row in found.rows if row["seen"] == f"it names {amphora_id}"]
    assert row["hop"] == f"{A} amphora's certificate"
    assert f"{A} heartbeats" in found.hops("ok")


@pytest.mark.parametrize("amphora", ["amphora-1", "203.0.113.999"])
def test_amphora_is_named_by_its_address(
    well: Lab, capsys: pytest.CaptureFixture[str], amphora: str
) -> None:
    """What is no address is refused with the place where the address stands."""
    assert cli.main(["doctor", "--octavia-conf", str(well.conf), "--amphora", amphora]) == 3
    assert "lb_network_ip" in capsys.readouterr().err
