# SPDX-License-Identifier: Apache-2.0
"""Files of oslo.config, judged by oslo.config itself."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_controller import oslo_conf
from amphora_controller.errors import ControllerError
from tests.support import need

# Reads texts of files, each as a line of JSON, and answers with what oslo.config finds in them.
_JUDGE = """
import json, sys, tempfile
from oslo_config import cfg
with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
    for line in sys.stdin:
        file.seek(0)
        file.truncate()
        file.write(json.loads(line))
        file.flush()
        options = cfg.ConfigOpts()
        options.register_opt(cfg.StrOpt("heartbeat_key"), group="health_manager")
        try:
            options([], default_config_files=[file.name], default_config_dirs=[])
            answer = {"value": options.health_manager.heartbeat_key}
        except (cfg.Error, ValueError, RecursionError) as exc:
            answer = {"error": type(exc).__name__}
        print(json.dumps(answer), flush=True)
"""

Judge = Callable[[str], str | None]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """What oslo.config finds in a file's text; raises ValueError where it finds fault with it."""
    python = os.environ.get("AMPHORA_OCTAVIA_PYTHON", "")
    if not Path(python).is_file():
        need.missing("AMPHORA_OCTAVIA_PYTHON names no interpreter with oslo.config")
    with subprocess.Popen(
        [python, "-X", "utf8", "-c", _JUDGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def ask(text: str) -> str | None:
            asked.write(json.dumps(text) + "\n")
            asked.flush()
            answer = json.loads(answers.readline())
            if "error" in answer:
                raise ValueError(answer["error"])
            found: str | None = answer["value"]
            return found

        yield ask
        asked.close()
        process.wait(timeout=30)


def ours(text: str) -> str | None:
    """The same by our reader."""
    value = oslo_conf.parse(text, "x.conf").get("health_manager", {}).get("heartbeat_key")
    return None if value is None else oslo_conf.resolved("heartbeat_key", value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[health_manager]\nheartbeat_key = plain\n", "plain"),
        ("[health_manager]\nheartbeat_key: colon = in it\n", "colon = in it"),
        ("[health_manager]\nheartbeat_key = a%key # not a comment", "a%key # not a comment"),
        ("[health_manager]\nheartbeat_key = a$$b\\$c$1\n", "a$b$c$1"),
        ("[health_manager]\nheartbeat_key = ' in quotes '\n", " in quotes "),
        ("[health_manager]\nheartbeat_key = \"'twice'\"\n", "'twice'"),
        ("[health_manager]\nheartbeat_key = 'one side\n", "'one side"),
        ("[health_manager]\nheartbeat_key = first\nheartbeat_key = last\n", "last"),
        ("[health_manager]\nheartbeat_key = one\n  two\n\tthree\n", "one\ntwo\nthree"),
        ("[health_manager]\nheartbeat_key = one\n# ends it\nx = y\n", "one"),
        ("[Health_Manager]\nheartbeat_key = of any case\n", "of any case"),
        ("[health_manager]\nheartbeat_key = a\n[x]\n[health_manager]\nheartbeat_key=b\n", "b"),
        ("[health_manager]\nHeartbeat_Key = an option's case counts\n", None),
        ("[default]\nheartbeat_key = elsewhere\n", None),
        ("[health_manager]\nheartbeat_key =\n", ""),
    ],
)
def test_values_are_those_of_oslo_config(judge: Judge, text: str, value: str | None) -> None:
    """Quotes, dollar signs, several of one name and lines that go on are read as Octavia does."""
    assert judge(text) == value
    assert ours(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no section\n", "line 1: an option is name = value"),
        ("x = y\n", "line 1: an option needs a section before it"),
        ("[health_manager]\n\n  heartbeat_key = x\n", "line 3: an indented line"),
        ("[health_manager] # of the night\n", "line 1: a section"),
        ("[]\n", "line 1: a section"),
        ("[a]\nb\n", "line 2: an option is"),
        ("[a]\n= b\n", "line 2: an option is"),
        ("[health_manager]\nheartbeat_key = $other\n", "of another option, $other: a dollar"),
        ("[health_manager]\nheartbeat_key = x${DEFAULT.a}\n", "of another option, $DEFAULT.a"),
    ],
)
def test_what_oslo_config_refuses_is_an_error(judge: Judge, text: str, words: str) -> None:
    """Each fault is named with its line; a reference to an option that is not there is one too."""
    with pytest.raises(ValueError, match="Error"):
        judge(text)
    with pytest.raises(ControllerError) as caught:
        ours(text)
    assert words in str(caught.value)


@given(
    text=st.lists(
        st.one_of(
            st.sampled_from(["[health_manager]", "heartbeat_key = ", "heartbeat_key:", "[x]", "#"]),
            st.sampled_from(["\n", "\n", "\r\n", " ", "\t", "'", '"', "$", "$$", "\\", "{", "}"]),
            st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=3),
        ),
        max_size=20,
    ).map("".join)
)
def test_any_file_is_read_as_oslo_config_reads_it(judge: Judge, text: str) -> None:
    """Whatever is in a file, both find the same value, or both find fault with it."""
    whole = f"[health_manager]\nheartbeat_key = {text}"
    try:
        expected = judge(whole)
    except ValueError:
        with pytest.raises(ControllerError):
            ours(whole.replace("\r\n", "\n").replace("\r", "\n"))
    else:
        assert ours(whole.replace("\r\n", "\n").replace("\r", "\n")) == expected
