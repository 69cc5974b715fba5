# SPDX-License-Identifier: Apache-2.0
"""Options of octavia.conf that name others, with oslo.config itself as the judge."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amphora_controller import oslo_conf
from amphora_controller.doctor import conf_file
from amphora_controller.doctor.conf_file import ConfFile
from amphora_controller.errors import ControllerError
from tests.support.octavia_driver import interpreter

_REPOSITORY = Path(__file__).resolve().parents[2]

SAMPLE = """
# of nobody
[DEFAULT]
name = value
host = ctl1
[Health_Manager]
heartbeat_key: a$$b
bind_ip = $host
bind_ip = "192.0.2.1"
controller_ip_port_list = 192.0.2.1:5555,
  192.0.2.2:5555
[health_manager]
other = ${name}-$health_manager.bind_ip
back = \\$name
empty =
"""


def read(text: str) -> ConfFile:
    """What a text sets."""
    return ConfFile(sections=oslo_conf.parse(text, "octavia.conf"))


class Judge:
    """oslo.config, in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self, text: str) -> Any:
        """See tests.support.oslo_reader."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """The judge."""
    with subprocess.Popen(
        [interpreter(), "-W", "ignore", "-m", "tests.support.oslo_reader"],
        cwd=_REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Judge(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def agree(judge: Judge, text: str) -> None:
    """Both readers refuse a text, or both find the same in it."""
    said = judge.answer(text)
    try:
        found = read(text)
    except ControllerError:
        assert "error" in said, said
        return
    assert "values" in said, said
    for section, key, value in said["values"]:
        if value is None:
            assert found.is_unresolved(section, key), (section, key)
        else:
            assert found.text(section, key) == value, (section, key)


def test_sample_is_read_as_oslo_reads_it(judge: Judge) -> None:
    """Repeated sections and keys, long values, quotes and references mean what they mean there."""
    agree(judge, SAMPLE)
    found = read(SAMPLE)
    assert found.text("health_manager", "heartbeat_key") == "a$b"
    assert found.written("health_manager", "heartbeat_key") == "a$$b"
    assert found.text("health_manager", "bind_ip") == "192.0.2.1"
    assert found.items("health_manager", "controller_ip_port_list") == (
        *("192.0.2.1:5555", "192.0.2.2:5555"),
    )
    assert found.text("health_manager", "other") == "value-192.0.2.1"
    assert found.text("health_manager", "back") == "$name"
    assert found.sections_of("bind_ip") == ("health_manager",)


_LINES = st.sampled_from(
    [
        *("[DEFAULT]", "[a]", "[A]", "[b]", "[", "[]", "[a", "]", "", "   ", "# c", "; c"),
        *("k = v", "k: v", "k=", "k", "= v", "l = $k", "l = $$k", "l = ${k}", "l = ${k", "l = $"),
        *(
            "l = $a.k",
            "l = \\$k",
            "l = $none",
            "k = 'q'",
            'k = "q',
            'k = "',
            "k = 'q\"",
            "k = a=b:c",
        ),
        *(" more", "\tmore", " # more", "  = x", "k = $l", "n = $9", "n = a$$$$b", "n = $k$k.x"),
    ]
)


@given(lines=st.lists(_LINES, max_size=8))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_file_is_read_or_refused_as_oslo_does(judge: Judge, lines: list[str]) -> None:
    """No file of many odd lines is read in another way than oslo.config reads it."""
    agree(judge, "\n".join(["[a]", *lines, ""]))


def test_names_in_a_value_are_looked_up_where_the_value_stands(judge: Judge) -> None:
    """What another section's option names is of that section."""
    text = "[a]\nhost = ctl1\nurl = http://$host\n[DEFAULT]\nhost = ctl2\nhere = $a.url\n"
    agree(judge, text)
    assert read(text).text("DEFAULT", "here") == "http://ctl1"


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and one that is no text are told apart."""
    with pytest.raises(ControllerError, match=r"absent\.conf cannot be read: No such file"):
        conf_file.load(tmp_path / "absent.conf")
    (tmp_path / "binary.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(ControllerError, match="it is not UTF-8"):
        conf_file.load(tmp_path / "binary.conf")


def test_secrets_stay_out_of_what_is_printed() -> None:
    """No value stands in the representation of a file."""
    assert "hidden" not in repr(read("[a]\nk = hidden\n"))


def test_number_that_is_none_is_refused() -> None:
    """What is no number names its option; what is not set is the default."""
    found = read("[a]\nk = many\n")
    assert found.number("a", "other", 7) == 7
    with pytest.raises(ControllerError, match=r"\[a\] k is 'many', not a number"):
        found.number("a", "k", 7)
