# SPDX-License-Identifier: Apache-2.0
"""Where amphorae are booted in containers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.support import container, lab, waiting
from tests.support.container import Container, Disk
from tests.support.guest import Plan
from tests.support.mutual_tls import RefusedError
from tests.support.octavia_driver import Octavia

_BOOT_DEADLINE_S = 60


@dataclass(frozen=True, kw_only=True)
class Yard:
    """The image, unpacked, and whose amphorae are booted from it."""

    disk: Disk
    controller: Octavia

    @contextmanager
    def boot(self, plan: Plan, directory: Path, *, nics: Sequence[str] = ()) -> Iterator[Container]:
        """An amphora that answers; a second boot in the same directory is one after a power cut.

        Args:
            nics: of the lab, that it has beside the one for its management.
        """
        inside = plan.networks.namespace
        if not (directory / "upper").exists():
            drive = plan.drive(self.controller, server_pem=plan.pki.amphora_pem(plan.amphora.id))
            container.inject(drive, directory / "upper")
        nic = nic_name("mgmt", plan.amphora.management_address)
        inside.add_nic(nic, mac=plan.mgmt_mac, mtu=lab.MTU, bridge=lab.MGMT_BRIDGE)
        with container.boot(self.disk, directory, inside=inside, nics=(nic, *nics)) as booted:
            client = plan.client(plan.pki.controller, timeout_s=5)

            def probe() -> bool | None:
                try:
                    return client.get("//")[0] == 200 or None
                except (OSError, RefusedError):
                    return None

            waiting.until("the agent", probe, deadline_s=_BOOT_DEADLINE_S, every_s=0.1)
            yield booted


def nic_name(network: str, address: IPv4Address) -> str:
    """The name of a NIC that no other one in the lab has."""
    return f"{network}{address.packed[-1]}"
