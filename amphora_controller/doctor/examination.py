# SPDX-License-Identifier: Apache-2.0
"""Everything that can be asked, asked at once, and judged hop by hop.

Observations run side by side as jobs, all with one end; checks wait for those that they judge.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from openstack.connection import Connection

from amphora_controller.amphora.client import Amphora
from amphora_controller.certificates import check as certificates_check
from amphora_controller.doctor import (
    amphorae,
    cloud,
    configuration,
    ear,
    heard,
    machine,
    managers,
    network,
    openstack_cloud,
    questions,
    udp,
)
from amphora_controller.doctor.amphorae import Way
from amphora_controller.doctor.conf_file import ConfFile
from amphora_controller.doctor.findings import Check, Finding, NotAsked, Note, examined, skipped
from amphora_controller.doctor.jobs import Jobs
from amphora_controller.doctor.keys import variants
from amphora_controller.doctor.options import Address, Endpoint, Options

# A host that answers no ARP shows after 3 s.
_STEP_S = 4.0
# Between the two looks at what a health manager has not read.
_UNREAD_S = 1.0
# From the end of listening to the end of all: an amphora that was not heard is asked what it sent.
_AFTERWARDS_S = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """An amphora to look at.

    Attributes:
        id: that its certificate must name; None to be told it.
    """

    address: Address
    id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteSays:
    """What the site's file wants.

    Attributes:
        source: its name.
        rendered: options by section, as octavia_conf.sections gives them.
    """

    source: str
    controllers: tuple[Endpoint, ...]
    rendered: Mapping[str, Mapping[str, str]] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is to be looked at.

    Attributes:
        interface: on the management network; empty to find it.
        cloud: an entry of clouds.yaml; empty for the account of octavia.conf.
        limit_s: for everything together.
    """

    conf: ConfFile = field(repr=False)
    options: Options
    targets: tuple[Target, ...]
    interface: str
    cloud: str
    site: SiteSays | None
    limit_s: float


def examine(case: Case) -> Iterator[Finding]:
    """Look at every hop; findings come in the order of hops."""
    looks = _Looks(case)
    checks = [*_files(case), *_controller(case, looks), *_cloud(case, looks)]
    for target in case.targets:
        checks += _amphora(case, looks, target)
    if not case.targets:
        checks.append(Check(hop="amphorae", look=_no_amphora))
        checks.append(Check(hop="heartbeats", look=partial(_anybody, case, looks), needs=_TO_HERE))
    return examined(checks)


_TO_HERE = ("octavia.conf", "controllers", "interface", "port", "security groups")


class _Looks:
    """Jobs that look at the world, started together."""

    def __init__(self, case: Case) -> None:
        options = case.options
        jobs = Jobs(case.limit_s)
        self.links = jobs.start(machine.links)
        self.sockets = {
            port: jobs.start(partial(machine.udp_sockets, port, apart_s=_UNREAD_S))
            for port in {item.port for item in options.endpoints}
        }
        self.replies = jobs.start(lambda: self._replies(options))
        self.routes = {
            target: jobs.start(partial(machine.route, target.address)) for target in case.targets
        }
        clients = {target: _client(options, target) for target in case.targets}
        self.asked = {
            target: jobs.start(partial(questions.ask, client, target.id))
            for target, client in clients.items()
        }
        self.before = {
            target: jobs.start(partial(questions.heartbeats_sent, client))
            for target, client in clients.items()
        }
        self.heard = jobs.start(lambda: self._heard(case, jobs.end_s - _AFTERWARDS_S))
        self.after = {
            target: jobs.start(partial(self._sent_if_silent, target, client))
            for target, client in clients.items()
        }
        self.login = jobs.start(partial(openstack_cloud.log_in, options.account, case.cloud))
        self.images = jobs.start(lambda: openstack_cloud.images(self._connection(), options))
        self.compute = jobs.start(lambda: openstack_cloud.compute(self._connection(), options))
        self.neutron = jobs.start(lambda: openstack_cloud.neutron(self._connection(), options))

    def own(self) -> set[Address]:
        """Addresses of this machine."""
        return {address.ip for link in self.links.result() for address in link.addresses}

    def _connection(self) -> Connection:
        return self.login.result().connection

    def _replies(self, options: Options) -> dict[Endpoint, managers.Reply]:
        own = self.own()
        others = [item for item in options.endpoints if item.address not in own]
        return udp.replies(others, wait_s=_STEP_S)

    def _heard(self, case: Case, until_s: float) -> ear.Heard:
        options = case.options
        name = network.chosen(self.links.result(), case.interface, options.bind.address)
        keys = variants(options.heartbeat_key or "", options.written_key or "")
        sources = [target.address for target in case.targets]
        return ear.listen(name, keys, sources, until_s=until_s)

    def _sent_if_silent(self, target: Target, client: Amphora) -> heard.Sent | None:
        sightings, _ = self.heard.result().of(target.address)
        return None if sightings else questions.heartbeats_sent(client)


def _client(options: Options, target: Target) -> Amphora:
    return Amphora(
        address=str(target.address),
        port=options.api_port,
        trust=options.files.server_chain,
        identity=options.files.client_bundle,
        timeout_s=_STEP_S,
    )


def _files(case: Case) -> Iterator[Check]:
    yield Check(hop="octavia.conf", look=partial(configuration.settings, case.conf))
    if case.site is not None:
        differences = partial(
            configuration.site_differences, case.conf, case.site.rendered, case.site.source
        )
        yield Check(hop="site", look=differences, needs=("octavia.conf",))
    yield Check(
        hop="certificates", look=partial(_certificates, case.options), needs=("octavia.conf",)
    )


def _certificates(options: Options) -> Iterator[Note]:
    found = certificates_check.findings(
        options.files,
        now=datetime.datetime.now(datetime.UTC),
        limits=certificates_check.Limits(),
        passphrase=options.ca_passphrase,
    )
    return configuration.certificates(found)


def _controller(case: Case, looks: _Looks) -> Iterator[Check]:
    options = case.options
    bind = options.bind.address
    site = case.site.controllers if case.site else ()
    yield Check(
        hop="controllers",
        look=partial(configuration.controllers, options, site),
        needs=("octavia.conf", "site"),
    )

    def interface() -> Iterator[Note]:
        links = looks.links.result()
        return network.interface(links, network.chosen(links, case.interface, bind), bind)

    yield Check(hop="interface", look=interface, needs=("octavia.conf",))
    for item in options.endpoints:
        yield Check(
            hop=f"health manager {item}",
            look=partial(_manager, looks, item),
            needs=("controllers", "interface"),
        )


def _manager(looks: _Looks, item: Endpoint) -> Iterator[Note]:
    if item.address in looks.own():
        yield from managers.here(item, looks.sockets[item.port].result())
    else:
        yield managers.elsewhere(looks.replies.result()[item])


def _cloud(case: Case, looks: _Looks) -> Iterator[Check]:
    options = case.options

    def account() -> Iterator[Note]:
        yield cloud.account(looks.login.result().project)

    def clock() -> Iterator[Note]:
        yield cloud.clock(looks.login.result().clock)

    def image() -> Iterator[Note]:
        found, project = looks.images.result(), looks.login.result().project
        return cloud.image(found, options, project, looks.compute.result().flavor)

    def flavor() -> Iterator[Note]:
        return cloud.flavor(looks.compute.result().flavor, options)

    def keypair() -> Iterator[Note]:
        return cloud.keypair(options, has_keypair=looks.compute.result().has_keypair)

    def networks() -> Iterator[Note]:
        return cloud.networks(looks.neutron.result().networks, options)

    def port() -> Iterator[Note]:
        found, links = looks.neutron.result(), looks.links.result()
        link = network.link_of(links, network.chosen(links, case.interface, options.bind.address))
        return cloud.port(found.port, link, found.networks, options)

    def groups() -> Iterator[Note]:
        found = looks.neutron.result()
        yield from cloud.amphora_rules(
            found.amphora_rules, found.missing_groups, found.port, options
        )
        if found.port is not None and found.port.network in options.networks:
            yield from cloud.manager_rules(found.port, found.port_rules, found.networks, options)

    known = ("octavia.conf", "account", "clock")
    yield Check(hop="account", look=account, needs=("octavia.conf",))
    # Where this clock is ahead, every token seems to have expired, and all takes its time.
    yield Check(hop="clock", look=clock, needs=("octavia.conf", "account"))
    for hop, look in (
        ("flavor", flavor),
        ("image", image),
        ("keypair", keypair),
        ("networks", networks),
    ):
        yield Check(hop=hop, look=look, needs=known)
    yield Check(hop="port", look=port, needs=(*known, "networks", "interface"))
    yield Check(hop="security groups", look=groups, needs=(*known, "networks"))


def _amphora(case: Case, looks: _Looks, target: Target) -> Iterator[Check]:
    bind = case.options.bind.address
    name = str(target.address)

    def route() -> Iterator[Note]:
        links = looks.links.result()
        link = network.link_of(links, network.chosen(links, case.interface, bind))
        if link is None:
            raise NotAsked("there is no interface to go by")
        return network.route(looks.routes[target].result(), target.address, link)

    def step(way: Way) -> Iterator[Note]:
        return amphorae.notes(looks.asked[target].result(), way)

    ways = {way: f"{name} {way}" for way in Way}
    yield Check(hop=f"{name} route", look=route, needs=("interface",))
    yield Check(
        hop=ways[Way.TCP],
        look=partial(step, Way.TCP),
        needs=("certificates", "interface", f"{name} route", "port", "security groups"),
    )
    yield Check(hop=ways[Way.CLOCK], look=partial(step, Way.CLOCK), needs=("clock", ways[Way.TCP]))
    before: tuple[str, ...] = ("certificates", "clock", ways[Way.TCP], ways[Way.CLOCK])
    for way in (Way.AMPHORA, Way.CONTROLLER, Way.API):
        yield Check(hop=ways[way], look=partial(step, way), needs=before)
        before = (*before, ways[way])
    yield Check(
        hop=f"{name} heartbeats",
        look=partial(_heartbeats, case, looks, target),
        needs=(*_TO_HERE, ways[Way.TCP]),
    )


def _heartbeats(case: Case, looks: _Looks, target: Target) -> Iterator[Note]:
    found = looks.heard.result()
    sightings, partials = found.of(target.address)
    known = {item.address for item in case.options.endpoints}
    silence = heard.Silence(
        window_s=found.window_s,
        period_s=_period_s(case.options),
        looked_for=[item for item in found.looked_for(target.address) if item not in known],
        before=looks.before[target].result(),
        after=looks.after[target].result(),
    )
    return heard.of_amphora(sightings, partials, case.options.bind, silence)


def _no_amphora() -> Sequence[Note]:
    return (skipped("none was named", "--amphora ADDRESS; `openstack loadbalancer amphora list`"),)


def _anybody(case: Case, looks: _Looks) -> Iterator[Note]:
    """Heartbeats of whoever sends some."""
    found = looks.heard.result()
    silence = heard.Silence(window_s=found.window_s, period_s=_period_s(case.options))
    if not found.sources:
        yield from heard.of_amphora((), (), case.options.bind, silence)
    for source in found.sources:
        for note in heard.of_amphora(*found.of(source), case.options.bind, silence):
            yield heard.named(note, source)


def _period_s(options: Options) -> float:
    """Heartbeats go to one controller after the other."""
    return options.interval_s * max(1, len(options.endpoints))
