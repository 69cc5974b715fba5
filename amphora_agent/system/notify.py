# SPDX-License-Identifier: Apache-2.0
"""Messages of a service to systemd (sd_notify(3)), without libsystemd."""

import os
import socket
from collections.abc import Mapping
from typing import Self


class Notifier:
    """Tells systemd how the service is; does nothing where systemd does not listen.

    It has a socket from the first message until `close`.

    Attributes:
        watchdog_s: seconds within which systemd expects the next `alive`; None when it does not
            watch.
    """

    def __init__(self, address: str | None = None, *, watchdog_s: float | None = None) -> None:
        """Send to the unix datagram socket `address`; a leading @ names an abstract one."""
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self.watchdog_s = watchdog_s
        self._channel: socket.socket | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_watched = (
            microseconds.isascii()
            and microseconds.isdigit()
            and int(microseconds) > 0
            and environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        )
        return cls(
            environment.get("NOTIFY_SOCKET") or None,
            watchdog_s=int(microseconds) / 1_000_000 if is_watched else None,
        )

    def ready(self, status: str) -> None:
        """The service has started."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_line(status)}")

    def alive(self) -> None:
        """The service still makes progress; put the watchdog off."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Give the socket back."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        if self._channel is None:
            self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._channel.setblocking(False)
        try:
            # Not connected: a systemd that was started again has another socket of the same name.
            self._channel.sendto(message.encode(), self._address)
        except OSError:
            # systemd restarts itself, or its queue is full: the next message will do.
            return


def _line(text: str) -> str:
    return " ".join(text.split())
