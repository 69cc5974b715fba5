# SPDX-License-Identifier: Apache-2.0
"""Work inside a network namespace."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000


def exists(name: str) -> bool:
    """Whether there is a namespace of that name."""
    return (_NAMED / name).exists()


def call(name: str | None, function: Callable[[], T]) -> T:
    """Call a function whose sockets and /proc reads belong to a namespace.

    A thread of its own enters the namespace, calls and ends; the rest of the process stays where
    it is. A socket that the function opens keeps the namespace for its whole life.

    Args:
        name: as in `ip netns`; None stays in the namespace of the process.

    Raises:
        OSError: there is no such namespace, or it may not be entered.
    """
    if name is None:
        return function()
    results: list[T] = []
    errors: list[BaseException] = []

    def enter_and_call() -> None:
        try:
            _enter(name)
            results.append(function())
        except BaseException as exc:  # noqa: BLE001  # raised again in the calling thread
            errors.append(exc)

    thread = threading.Thread(target=enter_and_call, name=f"netns-{name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(name: str) -> None:
    # The heartbeat sender needs it only with UDP or SCTP listeners.
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(_NAMED / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # os.setns exists from Python 3.12 on.
        if libc.setns(handle, _CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(_NAMED / name))
    finally:
        os.close(handle)
