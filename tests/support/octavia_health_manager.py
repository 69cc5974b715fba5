# SPDX-License-Identifier: Apache-2.0
"""The ear of Octavia's own health manager, without its database.

Started as `python -m tests.support.octavia_health_manager ADDRESS PORT KEY` by the interpreter of
Octavia's virtual environment; prints the amphora's id for each heartbeat that Octavia takes, and
`refused` for each that it does not.
"""
# Octavia and what it brings are not installed where types are checked.
# mypy: disable-error-code="import-not-found"

import sys

from octavia.amphorae.drivers.health import heartbeat_udp
from octavia.common import config, exceptions


def main(address: str, port: str, key: str) -> None:
    """Hear until a signal ends it."""
    config.init(["--config-file", "/dev/null"])
    options = config.cfg.CONF
    for name, value in (("bind_ip", address), ("bind_port", int(port)), ("heartbeat_key", key)):
        options.set_override(name, value, "health_manager")
    getter = heartbeat_udp.UDPStatusGetter()
    print("ready", flush=True)
    while True:
        try:
            message, _ = getter.dorecv()
        except TimeoutError:
            continue
        except exceptions.InvalidHMACException:
            print("refused", flush=True)
        else:
            print(message["id"], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
