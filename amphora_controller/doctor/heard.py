# SPDX-License-Identifier: Apache-2.0
"""What was heard of an amphora's heartbeats, and what its silence means."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from amphora_controller.doctor.findings import Note, failed, ok, unknown
from amphora_controller.doctor.keys import Variant
from amphora_controller.doctor.options import Address, Endpoint, endpoint
from amphora_controller.doctor.packets import Assembler, Call, Datagram, Partial, call
from amphora_controller.heartbeat import message
from amphora_controller.heartbeat.envelope import Fault, Refused

# Fragments of one datagram follow each other at once.
_FRAGMENTS_S = 0.5
_CALLS_MAX = 10_000

_SAMPLE = re.compile(
    r"^(amphora_heartbeat\w*)(?:\{controller=\"([^\"]*)\"\})? (\S+)$", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """A heartbeat that came in.

    Attributes:
        amphora_id: that it names; None if it could not be opened.
        trouble: what Octavia would refuse it for, after "it is"; empty when it would take it.
    """

    source: Address
    destination: Endpoint
    amphora_id: str | None
    trouble: str = ""


@dataclass(slots=True)
class Hearing:
    """Takes packets and keeps what they tell of heartbeats.

    Attributes:
        variants: the right key first.
        calls: of hosts for owners of addresses, and how often; who gets an answer calls once.
    """

    variants: Sequence[Variant]
    sightings: list[Sighting] = field(default_factory=list)
    calls: Counter[Call] = field(default_factory=Counter)
    _assembler: Assembler = field(default_factory=Assembler)

    def take(self, packet: bytes, now_s: float) -> None:
        """Take a packet that came in at a time of any clock."""
        if (asks := call(packet)) is not None and len(self.calls) < _CALLS_MAX:
            self.calls[asks] += 1
        datagram = self._assembler.take(packet, now_s)
        if datagram is not None and (found := sighting(datagram, self.variants)) is not None:
            self.sightings.append(found)

    def has_heard(self, sources: Sequence[Address]) -> bool:
        """Whether all of them were heard; of none, whether anybody was."""
        heard = {found.source for found in self.sightings}
        return heard.issuperset(sources) if sources else bool(heard)

    def partials(self, now_s: float) -> list[Partial]:
        """Datagrams whose missing fragments will not come any more."""
        return [
            found for found in self._assembler.partials() if now_s - found.begun_s > _FRAGMENTS_S
        ]


def sighting(datagram: Datagram, variants: Sequence[Variant]) -> Sighting | None:
    """What a datagram is; None if it is no heartbeat."""
    refusal: Refused | None = None
    for variant in variants:
        try:
            found = message.opened(datagram.payload, variant.key)
        except Refused as exc:
            refusal = exc if refusal is None or exc.fault is not Fault.WRONG_KEY else refusal
            continue
        trouble = f"signed with {variant.name}" if variant.name else ""
        return _sighting(datagram, found.amphora_id, trouble)
    if refusal is None or refusal.fault in (Fault.GARBAGE, Fault.TRUNCATED, Fault.OVERSIZE):
        return None
    if refusal.fault is Fault.WRONG_KEY:
        return _sighting(datagram, None, "signed with another key")
    return _sighting(datagram, None, str(refusal))


def _sighting(datagram: Datagram, amphora_id: str | None, trouble: str) -> Sighting:
    return Sighting(
        source=datagram.source,
        destination=datagram.destination,
        amphora_id=amphora_id,
        trouble=trouble,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What an amphora of this project tells of its heartbeats (`/2.0/metrics`).

    Attributes:
        sent: by controller, since its sender started.
        is_silent: none left the last time.
    """

    sent: Mapping[Endpoint, int]
    is_silent: bool


def sent(metrics: str) -> Sent | None:
    """What metrics tell, in Prometheus' text format; None if they say nothing of heartbeats."""
    found: dict[str, dict[str, float]] = {}
    for name, controller, number in _SAMPLE.findall(metrics):
        found.setdefault(name, {})[controller] = float(number)
    if not found:
        return None
    return Sent(
        sent={
            item: int(count)
            for name, count in found.get("amphora_heartbeats_sent_total", {}).items()
            if (item := endpoint(name)) is not None
        },
        is_silent=found.get("amphora_heartbeat_silent", {}).get("") == 1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """What is known where nothing was heard.

    Attributes:
        window_s: how long nobody was heard.
        period_s: how long it takes until an amphora tells a certain controller again.
        looked_for: addresses of no controller that it looks for in vain on its network.
        before, after: what it told itself; None if it does not, as Octavia's own image.
    """

    window_s: float
    period_s: float
    looked_for: Sequence[Address] = ()
    before: Sent | None = None
    after: Sent | None = None


def of_amphora(
    heard: Sequence[Sighting], partials: Sequence[Partial], bind: Endpoint, silence: Silence
) -> Iterator[Note]:
    """The heartbeats of one amphora.

    Args:
        heard: of that amphora alone; so are the partials.
        bind: where the health manager listens.
    """
    faults = [*_refused(heard), *_misled(heard, bind), *_torn(partials, bind)]
    yield from faults
    if not faults and heard:
        yield ok(f"{len(heard)} came to {heard[0].destination}, signed with the right key")
    elif not faults:
        yield _silent(bind, silence)


def _refused(heard: Sequence[Sighting]) -> Iterator[Note]:
    for trouble in sorted({found.trouble for found in heard} - {""}):
        yield failed(
            f"they come, and octavia-health-manager drops them: {trouble}",
            "a heartbeat_key of letters, digits, `_`, `.` and `-`, the same on every controller, "
            "reaches amphorae as it is; restart Octavia's services, then `openstack loadbalancer "
            "amphora configure` or a failover gives it to amphorae"
            if trouble.startswith("signed with")
            else "the agent in the amphora does not belong to this Octavia: which image is it?",
            is_cause=True,
        )


def _misled(heard: Sequence[Sighting], bind: Endpoint) -> Iterator[Note]:
    for item in sorted(
        {found.destination for found in heard if not is_at(found.destination, bind)}
    ):
        yield failed(
            f"they go to {item}, and the health manager listens at {bind}",
            _GIVE_LIST,
            is_cause=True,
        )


def _torn(partials: Sequence[Partial], bind: Endpoint) -> Iterator[Note]:
    torn = [
        found for found in partials if found.destination is None or is_at(found.destination, bind)
    ]
    if torn:
        yield failed(
            f"{len(torn)} came in part ({max(found.come_bytes for found in torn)} bytes): "
            "fragments get lost",
            "the same MTU on o-hm0, the management network and amphorae, and no firewall between "
            "that drops fragments; heartbeats have some 1.5 kB at 55 members",
            is_cause=True,
        )


_GIVE_LIST = (
    "amphorae have the controller_ip_port_list of the time when they were made: `openstack "
    "loadbalancer amphora configure`, or a failover, gives them that of now"
)


def _silent(bind: Endpoint, silence: Silence) -> Note:
    seen = f"none came in {silence.window_s:.0f} s"
    longer = f"--limit {silence.period_s + 3:.0f} waits for a whole period"
    said = silence.after or silence.before
    if said is None and silence.looked_for:
        return failed(
            f"{seen}, and the amphora looks in vain for {_listed(silence.looked_for)}",
            f"if that is where it sends heartbeats to: {_GIVE_LIST}",
            is_cause=True,
        )
    if said is None:
        return unknown(seen, longer)
    if said.is_silent:
        return failed(
            f"{seen}: the amphora says that none leaves it",
            "journalctl -u amphora-heartbeat in the amphora tells why",
        )
    own = [item for item in said.sent if is_at(item, bind)]
    if said.sent and not own:
        return failed(
            f"the amphora sends them to {_listed(sorted(said.sent))}, not to {bind}",
            _GIVE_LIST,
            is_cause=True,
        )
    if silence.before and silence.after:
        more = sum(
            silence.after.sent.get(item, 0) - silence.before.sent.get(item, 0) for item in own
        )
        if more > 0:
            return failed(
                f"{seen}, while the amphora sent {more} to here: they get lost on the way",
                "the security group of o-hm0's port must let UDP in from amphorae, and o-hm0 must "
                "have the port's MAC address",
            )
    return unknown(f"{seen}, and the amphora sent none to here meanwhile", longer)


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def named(note: Note, source: Address) -> Note:
    """A note with whom it is about."""
    return replace(note, seen=f"{source}: {note.seen}")


def is_at(destination: Endpoint, bind: Endpoint) -> bool:
    """Whether a datagram comes to a socket that is bound like that."""
    return destination.port == bind.port and (
        bind.address.is_unspecified or destination.address == bind.address
    )
