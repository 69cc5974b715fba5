# SPDX-License-Identifier: Apache-2.0
"""The passphrase of the authorities' keys."""

import os
from pathlib import Path

from amphora_controller.errors import ControllerError

VARIABLE = "AMPHORA_CA_PASSPHRASE"
HELP = f"File with the passphrase of the authorities' keys; else {VARIABLE} holds it."


def read(file: Path | None) -> str:
    """The passphrase in a file, or else in the environment.

    Raises:
        ControllerError: there is none.
    """
    text = read_if_any(file)
    if text is None:
        raise ControllerError(
            "no passphrase for the authorities' keys",
            f"--passphrase-file FILE, or the environment variable {VARIABLE}",
        )
    return text


def read_if_any(file: Path | None) -> str | None:
    """The same; None when there is none.

    Raises:
        ControllerError: the file cannot be read.
    """
    text = os.environ.get(VARIABLE, "")
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").strip("\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise ControllerError(f"{file} cannot be read", str(exc)) from exc
    return text or None
