# SPDX-License-Identifier: Apache-2.0
"""Listening for heartbeats beside the health manager, for a while."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amphora_controller.doctor.findings import Unproven
from amphora_controller.doctor.heard import Hearing, Sighting
from amphora_controller.doctor.keys import Variant
from amphora_controller.doctor.options import Address
from amphora_controller.doctor.packets import Call, Partial
from amphora_controller.doctor.tap import Tap

# Calls for the same address, one second after the other.
_IN_VAIN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What came in.

    Attributes:
        calls: see Hearing.
        window_s: how long was listened.
    """

    sightings: Sequence[Sighting]
    partials: Sequence[Partial]
    calls: Mapping[Call, int]
    window_s: float

    def of(self, source: Address) -> tuple[list[Sighting], list[Partial]]:
        """What came from one amphora."""
        return (
            [found for found in self.sightings if found.source == source],
            [found for found in self.partials if found.source == source],
        )

    def looked_for(self, source: Address) -> list[Address]:
        """Addresses that an amphora looks for in vain."""
        return [
            found.wanted
            for found, count in self.calls.items()
            if found.source == source and count >= _IN_VAIN
        ]

    @property
    def sources(self) -> tuple[Address, ...]:
        """Whom anything came from."""
        found = {item.source for item in self.sightings}
        found |= {item.source for item in self.partials}
        return tuple(sorted(found, key=lambda address: (address.version, int(address))))


def listen(
    interface: str, variants: Sequence[Variant], sources: Sequence[Address], *, until_s: float
) -> Heard:
    """Listen until all of them were heard, or until a time of time.monotonic().

    Args:
        sources: amphorae; if there are none, the first one that is heard is enough.

    Raises:
        Unproven: it is not allowed, or there is no such interface.
    """
    begun_s = time.monotonic()
    hearing = Hearing(variants=variants)
    try:
        with Tap(interface) as tap:
            for packet in tap.packets(until_s=until_s):
                hearing.take(packet, time.monotonic())
                if hearing.has_heard(sources):
                    break
    except PermissionError as exc:
        raise Unproven(
            f"{interface} cannot be listened at", "run this as root, or with CAP_NET_RAW"
        ) from exc
    except OSError as exc:
        raise Unproven(
            f"{interface} cannot be listened at: {exc.strerror}", "is there such an interface?"
        ) from exc
    now_s = time.monotonic()
    return Heard(
        sightings=tuple(hearing.sightings),
        partials=tuple(hearing.partials(now_s)),
        calls=hearing.calls,
        window_s=now_s - begun_s,
    )
