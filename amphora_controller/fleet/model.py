# SPDX-License-Identifier: Apache-2.0
"""What is known of amphorae and load balancers."""

import datetime
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an amphora is to its load balancer, by Octavia's names.

    Which one of a pair serves may have changed since it was made.
    """

    STANDALONE = "STANDALONE"
    MASTER = "MASTER"
    BACKUP = "BACKUP"
    UNKNOWN = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """An amphora as Octavia's API tells it, or only its address.

    Attributes:
        address: on the management network (lb_network_ip).
        status: ALLOCATED when it serves; BOOTING, ERROR, ...
        vip: the primary address of its load balancer (ha_ip).
        certificate_until: what Octavia has noted; aware.
    """

    address: str
    id: str | None = None
    load_balancer_id: str | None = None
    role: Role = Role.UNKNOWN
    status: str = ""
    image_id: str | None = None
    vip: str | None = None
    certificate_until: datetime.datetime | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"amphora {self.id or self.address}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What an amphora answered; None for what it did not.

    Attributes:
        cause: why it did not answer; empty when it did.
        id: whom its certificate names.
        haproxy: the version of the package, such as 3.0.11-1+deb13u1.
        agent: the version of the agent; None also for one without API 2.0.
        certificate_until: the end of the certificate that it shows; aware.
        holds_vip: of a pair, whether it has the VIP now, and so serves.
    """

    amphora: Known
    cause: str = ""
    id: str | None = None
    haproxy: str | None = None
    agent: str | None = None
    certificate_until: datetime.datetime | None = None
    holds_vip: bool | None = None

    def days_left(self, now: datetime.datetime) -> int | None:
        """Whole days until its certificate ends, as it shows it, or else as Octavia has noted it.

        Args:
            now: aware.
        """
        until = self.certificate_until or self.amphora.certificate_until
        return None if until is None else (until - now).days


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadBalancer:
    """A load balancer as Octavia's API tells it.

    Attributes:
        status: provisioning_status: ACTIVE, ERROR, PENDING_UPDATE, ...
    """

    id: str
    name: str
    status: str

    @property
    def is_changing(self) -> bool:
        """Whether Octavia works on it, and takes no other change of it."""
        return self.status.startswith("PENDING_")
