# SPDX-License-Identifier: Apache-2.0
"""Run a cloud by hand: `python -m tests.support.openstack DIRECTORY`, until Ctrl-C."""

import argparse
import signal
import time
from pathlib import Path

from tests.support.openstack.cloud import cloud


def main() -> None:
    """Start a cloud, say how to use it, and end it after SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.openstack", description=__doc__)
    parser.add_argument("directory", type=Path, help="empty or absent; for logs and clouds.yaml")
    directory: Path = parser.parse_args().directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    ends = {signal.SIGINT, signal.SIGTERM}
    begin = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with cloud(directory) as made:
        print(f"after {time.monotonic() - begin:.0f} s; Ctrl-C ends it. In another shell:")
        print(f"  export OS_CLIENT_CONFIG_FILE={made.clouds_yaml} OS_CLOUD={made.name}")
        print(f"  ip netns exec {made.namespace.name} COMMAND", flush=True)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
