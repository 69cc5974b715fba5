# SPDX-License-Identifier: Apache-2.0
"""What a test needs from its host: missing, it skips on a laptop and fails where CI=true."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the calling test, or fail it when CI=true, where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true, so this is an error)", pytrace=False)
    pytest.skip(reason)


def programs(*names: str) -> None:
    """Require programs on PATH."""
    absent = [name for name in names if shutil.which(name) is None]
    if absent:
        missing(f"programs not installed: {', '.join(absent)}; ./test.sh installs them")


def root() -> None:
    """Require root: namespaces and taps cannot be made without."""
    if os.geteuid() != 0:
        missing("needs root for network namespaces; run ./test.sh with sudo")
