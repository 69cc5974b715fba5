# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: what is not understood, and what is called off."""

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
