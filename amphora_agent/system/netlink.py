# SPDX-License-Identifier: Apache-2.0
"""The part of pyroute2 that speaks rtnetlink, without the rest of it.

Importing the package pulls in its database, its console and an HTTP server: 10 MiB and 50 ms in a
process that needs one class. So the package is put into place unexecuted, which leaves its modules
importable one by one.
"""

import importlib.util
import sys


def _shell_of_package(name: str) -> None:
    """Register a package without running its `__init__`; nothing to do if it has been run."""
    spec = importlib.util.find_spec(name)
    if name not in sys.modules and spec is not None:
        sys.modules[name] = importlib.util.module_from_spec(spec)


_shell_of_package("pyroute2")

from pyroute2.iproute.linux import IPRoute  # noqa: E402  # only after the line above
from pyroute2.netlink.exceptions import NetlinkError  # noqa: E402

__all__ = ["IPRoute", "NetlinkError"]
