# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: what is not understood, and what is called off."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from amphora_controller import cli


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("certs", "--nope"), "No such option: --nope"),
        (("nope",), "No such command 'nope'"),
        (("certs", "check", "--warning-days", "many"), "Invalid value for '--warning-days'"),
    ],
)
def test_wrong_command_line_is_an_error_without_a_traceback(
    argv: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option, command or value is named on standard error, with exit status 3."""
    assert cli.main(argv) == 3
    shown = capsys.readouterr()
    assert words in shown.err
    assert not shown.out


def test_help_has_every_command_and_one_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Help of the program lists what there is, and that of a command calls it by its name."""
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    names = ["config", "watch", "setup", "teardown", "doctor", "amphora", "certs", "fleet", "site"]
    for name in names:
        assert f" {name} " in shown
        assert cli.main([name, "--help"]) == 0
        assert f"{name} [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["certs", "site", "watch", "amphora"])
def test_command_without_a_cloud_loads_no_client_of_clouds(command: str) -> None:
    """What needs no OpenStack does not wait for its libraries."""
    program = (
        "import sys; from amphora_controller import cli;"
        " cli.main(sys.argv[1:]); print('openstack' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
