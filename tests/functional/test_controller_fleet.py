# SPDX-License-Identifier: Apache-2.0
"""`amphoractl fleet` with Octavia's real API and real agents.

No worker runs: who takes its orders writes into the database what it would write, and the agents
of the new amphorae run already (tests/support/octavia_api_peer.py).
"""

import dataclasses
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.fleet.octavia import connected
from amphora_controller.fleet.roll import Patience, settle
from tests.functional import controller_console
from tests.functional.conftest import REPOSITORY, Place
from tests.functional.controller_console import Console
from tests.support import amphoractl, waiting
from tests.support.amphoractl import Said
from tests.support.mutual_tls import Client, RefusedError
from tests.support.netns import Namespace, namespace
from tests.support.octavia_api import CLOUD, OctaviaApi, octavia_api

OLD_IMAGE, NEW_IMAGE = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
PAIR, SINGLE = str(uuid.UUID(int=0x10)), str(uuid.UUID(int=0x20))
PAIR_VIP, SINGLE_VIP = "198.51.100.9", "198.51.100.8"
_DEADLINE_S = 30

# Six agents and Octavia's API are started for it.
pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """An agent of its own, and where it listens."""

    id: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """Two load balancers of three amphorae, and those that will replace them.

    Attributes:
        backup: has the VIP; so the MASTER does not serve.
        single: has a certificate for few days more.
        fresh: the new amphora of each, by the id of the old one.
    """

    console: Console
    api: OctaviaApi
    master: Machine
    backup: Machine
    single: Machine
    fresh: dict[str, Machine]

    def run(self, command: str, *arguments: str) -> Said:
        """Run one command of `amphoractl fleet` on this cloud."""
        return amphoractl.run(self.console.place.outer, *self.words(command, *arguments))

    def words(self, command: str, *arguments: str) -> list[str]:
        """Its command line."""
        directory = ["-d", str(self.console.directory)]
        return ["fleet", command, *arguments, *directory, "--os-cloud", CLOUD]

    def roll(self, *arguments: str) -> Said:
        """Replace what has not the new image."""
        waits = ("--interval", "0.1", "--patience", str(_DEADLINE_S))
        return self.run("roll", "--image", NEW_IMAGE, *waits, *arguments)

    def ids(self) -> set[str]:
        """Whom Octavia's API has now."""
        listed = self.run("list", "--json")
        assert listed.status == 0, listed
        return {one["id"] for one in listed.json["amphorae"]}


@pytest.fixture(scope="module")
def machines(place: Place) -> Iterator[list[Machine]]:
    """Six agents, of which the second one has the VIP of the pair."""
    with ExitStack() as stack:
        active = stack.enter_context(namespace("active"))
        active.ip("address", "add", f"{PAIR_VIP}/32", "dev", "lo")
        # 27 of 30 days have passed for the third one.
        made = [
            stack.enter_context(_started(place, 2)),
            stack.enter_context(_started(place, 3, inner=active)),
            stack.enter_context(_started(place, 4, since_days=27)),
            *(stack.enter_context(_started(place, number)) for number in (5, 6, 7)),
        ]
        for one in made:
            waiting.until(
                f"{one.amphora_id} to answer",
                partial(_answers, one),
                deadline_s=_DEADLINE_S,
                every_s=0.05,
            )
        yield [
            Machine(id=str(one.amphora_id), address=_address(number))
            for number, one in enumerate(made, 2)
        ]


@pytest.fixture(scope="module")
def api(place: Place) -> Iterator[OctaviaApi]:
    """Octavia's API beside the agents."""
    with octavia_api(place.outer, place.directory) as made:
        yield made


@pytest.fixture
def fleet(
    place: Place,
    api: OctaviaApi,
    machines: list[Machine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Fleet:
    """A pair and a single one, all of the old image."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(api.clouds_yaml))
    master, backup, single, *fresh = machines
    api.clear()
    for lb_id, vip, members in (
        (PAIR, PAIR_VIP, ((master, "MASTER"), (backup, "BACKUP"))),
        (SINGLE, SINGLE_VIP, ((single, "STANDALONE"),)),
    ):
        api.add_load_balancer(lb_id, vip=vip)
        for machine, role in members:
            api.add_amphora(**columns(machine, lb_id, vip=vip, role=role))
    made = Fleet(
        console=controller_console.make(place, tmp_path / "certs"),
        api=api,
        master=master,
        backup=backup,
        single=single,
        fresh=dict(zip((master.id, backup.id, single.id), fresh, strict=True)),
    )
    for old, new in made.fresh.items():
        api.expect(old, replacement=replacement(new))
    return made


def columns(machine: Machine, lb_id: str, *, vip: str, role: str) -> dict[str, Any]:
    """A row of the database."""
    return {
        "id": machine.id,
        "load_balancer_id": lb_id,
        "lb_network_ip": machine.address,
        "ha_ip": vip,
        "role": role,
        "status": "ALLOCATED",
        "image_id": OLD_IMAGE,
    }


def replacement(machine: Machine, image_id: str = NEW_IMAGE) -> dict[str, str]:
    """What differs in the row of a new amphora."""
    return {"id": machine.id, "lb_network_ip": machine.address, "image_id": image_id}


# List


def test_list_groups_amphorae_by_what_they_are_made_of(fleet: Fleet) -> None:
    """Amphorae of the same image, haproxy and agent are one group, with the range of their days."""
    listed = fleet.run("list", "--json").json
    [group] = listed["groups"]
    assert (group["image_id"], group["amphorae"]) == (OLD_IMAGE, 3)
    assert (group["days_least"], group["days_most"]) == (2, 29)
    assert group["haproxy"].startswith("2.") or group["haproxy"].startswith("3.")
    assert group["agent"] == "0.1.0"
    holders = {one["id"]: one["holds_vip"] for one in listed["amphorae"]}
    assert holders == {fleet.master.id: False, fleet.backup.id: True, fleet.single.id: None}
    head, row = fleet.run("list").out.splitlines()
    assert head.split()[:4] == ["IMAGE", "HAPROXY", "AGENT", "AMPHORAE"]
    assert row.split()[0] == OLD_IMAGE
    assert row.endswith("2 to 29")
    each = fleet.run("list", "--each").out.splitlines()
    assert {line.split()[0] for line in each[1:]} == set(holders)


def test_list_tells_why_an_amphora_did_not_answer(fleet: Fleet) -> None:
    """One that is down and one at another's address are listed with their causes; the rest too."""
    gone = Machine(id=str(uuid.uuid4()), address=_address(99))
    mistaken = Machine(id=str(uuid.uuid4()), address=fleet.single.address)
    for machine in (gone, mistaken):
        fleet.api.add_amphora(**columns(machine, SINGLE, vip=SINGLE_VIP, role="STANDALONE"))
    said = fleet.run("list")
    assert said.status == 2
    assert "refuses connections" in _line_of(said.out, gone.id)
    assert f"names {fleet.single.id}, not {mistaken.id}" in _line_of(said.out, mistaken.id)
    assert said.out.splitlines()[1].split()[-4] == "3", said.out


def test_list_takes_addresses_by_hand(fleet: Fleet, tmp_path: Path) -> None:
    """Options and a file name amphorae without Octavia's API, each once."""
    file = tmp_path / "amphorae"
    backup, single = fleet.backup, fleet.single
    file.write_text(f"# ours\n{single.address} {single.id}\n\n{backup.address}  # of the pair\n")
    words = ["list", "--file", str(file), "--amphora", backup.address, "--json"]
    certificates = str(fleet.console.directory)
    listed = amphoractl.run(fleet.console.place.outer, "fleet", *words, "-d", certificates).json
    assert {one["id"] for one in listed["amphorae"]} == {single.id, backup.id}
    file.write_text("one two three\n")
    assert f"{file}, line 1 has 3 words" in fleet.run("list", "--file", str(file)).err
    file.write_text("\nlocalhost\n")
    said = fleet.run("list", "--file", str(file))
    assert f"{file}, line 2: 'localhost' is no address" in said.err


@pytest.mark.parametrize(
    ("cloud", "words"),
    [(f"{CLOUD}-down", "look whether octavia-api runs"), ("unknown", "--os-cloud")],
)
def test_list_without_octavia_is_told(fleet: Fleet, cloud: str, words: str) -> None:
    """An API that is down and a cloud that nobody knows end with 3 and a next step."""
    said = amphoractl.run(fleet.console.place.outer, "fleet", "list", "--os-cloud", cloud)
    assert (said.status, said.out) == (3, "")
    assert words in said.err


def test_commands_take_all_amphorae_of_a_load_balancer(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--of names both of a pair by Octavia's API, with their ids; an unknown one is told."""
    monkeypatch.setenv("AMPHORA_CA_PASSPHRASE", amphoractl.PASSPHRASE)
    of = ("--os-cloud", CLOUD, "--of")
    rows = fleet.console.amphora("rotate", *of, PAIR, "--json").json
    assert {row["id"] for row in rows} == {fleet.master.id, fleet.backup.id}
    nobody = str(uuid.UUID(int=0x99))
    said = fleet.console.amphora("rotate", *of, nobody)
    assert (said.status, said.out) == (3, "")
    assert f"load balancer {nobody} has no amphorae" in said.err
    for words in ((fleet.single.address, *of, PAIR), ()):
        assert "which amphorae?" in fleet.console.amphora("bundle", *words).err
    # One that has taken the other's address is not given the other's certificate.
    swapped = Machine(id=fleet.single.id, address=fleet.master.address)
    fleet.api.clear()
    fleet.api.add_load_balancer(SINGLE, vip=SINGLE_VIP)
    fleet.api.add_amphora(**columns(swapped, SINGLE, vip=SINGLE_VIP, role="STANDALONE"))
    said = fleet.console.amphora("rotate", *of, SINGLE)
    assert f"names {fleet.master.id}, not {fleet.single.id}" in said.err


def test_second_failover_of_a_load_balancer_is_refused(fleet: Fleet) -> None:
    """Octavia takes no second change while the first one goes on, and the command says so."""
    new = replacement(fleet.fresh[fleet.master.id])
    fleet.api.expect(fleet.master.id, delay_s=1, replacement=new)
    with fleet.console.place.outer.entered(), connected(CLOUD) as octavia:
        octavia.fail_over(fleet.master.id)
        with pytest.raises(ControllerError, match="Octavia works on its load balancer already"):
            octavia.fail_over(fleet.backup.id)
        settle([PAIR], octavia, Patience(timeout_s=_DEADLINE_S, interval_s=0.1))
    assert [one.amphora for one in fleet.api.failovers()] == [fleet.master.id]


# Plan


def test_plan_begins_with_the_one_that_does_not_serve(fleet: Fleet) -> None:
    """Of the pair goes first who has not the VIP, whatever its role; the single one comes last."""
    made = fleet.run("plan", "--image", NEW_IMAGE, "--limit", "2", "--json").json
    waves = [[step["amphora"] for step in wave] for wave in made["waves"]]
    assert waves == [[fleet.master.id], [fleet.backup.id, fleet.single.id]]
    assert [step["interrupts"] for step in made["waves"][1]] == [False, True]
    assert made["waves"][0][0]["reasons"] == [f"image {OLD_IMAGE}"]
    text = fleet.run("plan", "--image", NEW_IMAGE).out
    assert text.splitlines()[:2] == [
        "wave 1",
        f"  amphora {fleet.master.id} (MASTER) of load balancer {PAIR}: image {OLD_IMAGE}",
    ]
    assert fleet.api.failovers() == []


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (("--days-below", "10"), 1),
        (("--days-below", "2"), 0),
        (("--haproxy-below", "99"), 3),
        (("--haproxy-below", "1.8.30"), 0),
        (("--image", OLD_IMAGE), 0),
        (("--image", OLD_IMAGE, "--days-below", "10"), 1),
    ],
)
def test_plan_chooses_by_what_is_wanted(fleet: Fleet, wanted: tuple[str, ...], count: int) -> None:
    """Each criterion finds those that fall short of it, and no others."""
    made = fleet.run("plan", *wanted, "--json").json
    assert len([step for wave in made["waves"] for step in wave]) == count
    if count == 1:
        assert made["waves"][0][0]["amphora"] == fleet.single.id


def test_plan_leaves_alone_what_cannot_lose_an_amphora(fleet: Fleet) -> None:
    """A load balancer in ERROR and a pair without its peer are left alone, with the next step."""
    fleet.api.set_status(SINGLE, "ERROR")
    lonely, vip = str(uuid.uuid4()), "198.51.100.7"
    fleet.api.add_load_balancer(lonely, vip=vip)
    left = Machine(id=str(uuid.uuid4()), address=_address(98))
    fleet.api.add_amphora(**columns(left, lonely, vip=vip, role="BACKUP"))
    made = fleet.run("plan", "--image", NEW_IMAGE, "--json").json
    why = {held["amphora"]: held["why"] for held in made["held"]}
    assert why[fleet.single.id] == f"load balancer {SINGLE} is ERROR"
    assert f"1 amphorae, of BACKUP: openstack loadbalancer failover {lonely}" in why[left.id]
    chosen = {step["amphora"] for wave in made["waves"] for step in wave}
    assert chosen == {fleet.master.id, fleet.backup.id}


@pytest.mark.parametrize("command", ["plan", "roll"])
def test_plan_of_nothing_in_particular_is_refused(fleet: Fleet, command: str) -> None:
    """Without a criterion, or with a version that is none, nothing is planned."""
    assert "nothing says which amphorae" in fleet.run(command).err
    assert "'new' is no version" in fleet.run(command, "--haproxy-below", "new").err
    assert fleet.api.failovers() == []


# Roll


def test_roll_dry_run_replaces_nothing(fleet: Fleet) -> None:
    """The calls are printed, in their order, and none is made."""
    said = fleet.roll("--dry-run")
    assert said.status == 0, said
    assert [line for line in said.out.splitlines() if line.startswith("PUT")] == [
        f"PUT /v2/octavia/amphorae/{one.id}/failover"
        for one in (fleet.master, fleet.backup, fleet.single)
    ]
    assert fleet.ids() == {fleet.master.id, fleet.backup.id, fleet.single.id}


def test_roll_replaces_all_and_never_both_of_a_pair_at_once(fleet: Fleet) -> None:
    """Every amphora is replaced once, the two of the pair one after the other; again, none is.

    The second wave has two, each of which ends only when both have begun.
    """
    for one, other in ((fleet.backup, fleet.single), (fleet.single, fleet.backup)):
        new = replacement(fleet.fresh[one.id])
        fleet.api.expect(one.id, beside=other.id, replacement=new)
    said = fleet.roll("--limit", "2")
    assert said.status == 0, said
    assert said.out.count(": replaced\n") == 3
    assert fleet.ids() == {machine.id for machine in fleet.fresh.values()}
    done = {one.amphora: one for one in fleet.api.failovers()}
    assert done.keys() == fleet.fresh.keys()
    assert done[fleet.master.id].ended <= done[fleet.backup.id].begun
    again = fleet.roll()
    assert (again.status, again.out) == (0, "no amphora is to be replaced\n")
    assert len(fleet.api.failovers()) == 3


def test_roll_stops_at_a_failure_and_goes_on_when_it_is_mended(fleet: Fleet) -> None:
    """After a failover that fails nothing more is begun; what is left is done by the next run."""
    fleet.api.expect(fleet.backup.id, fails=True)
    said = fleet.roll()
    assert said.status == 3
    assert "stopped after 1 of 3 amphorae" in said.err
    assert f"amphora {fleet.backup.id}: load balancer {PAIR} is ERROR" in said.err
    assert [one.amphora for one in fleet.api.failovers()] == [fleet.master.id, fleet.backup.id]
    # As it is, the pair is left alone, and the rest is done.
    said = fleet.roll()
    assert said.status == 2
    assert f"amphora {fleet.backup.id}: load balancer {PAIR} is ERROR" in said.out
    fleet.api.set_status(PAIR, "ACTIVE")
    fleet.api.expect(fleet.backup.id, replacement=replacement(fleet.fresh[fleet.backup.id]))
    assert fleet.roll().status == 0
    assert fleet.ids() == {machine.id for machine in fleet.fresh.values()}


def test_roll_stops_when_the_new_amphora_is_as_the_old_one(fleet: Fleet) -> None:
    """When Octavia still builds of the old image, one amphora is replaced and not all of them."""
    fresh = fleet.fresh[fleet.master.id]
    fleet.api.expect(fleet.master.id, replacement=replacement(fresh, OLD_IMAGE))
    said = fleet.roll()
    assert said.status == 3
    assert f"amphora {fresh.id} is no better than the old one: image {OLD_IMAGE}" in said.err
    assert len(fleet.api.failovers()) == 1


def test_roll_stops_when_the_new_amphora_does_not_answer(fleet: Fleet) -> None:
    """A load balancer that is ACTIVE with an amphora that nobody reaches is a failure."""
    dead = Machine(id=str(uuid.uuid4()), address=_address(97))
    fleet.api.expect(fleet.master.id, replacement=replacement(dead))
    said = fleet.roll()
    assert said.status == 3
    assert f"the new amphora {dead.id} does not answer" in said.err
    assert len(fleet.api.failovers()) == 1


def test_roll_loses_its_patience(fleet: Fleet) -> None:
    """A failover that takes longer than --patience is told, and nothing more is begun."""
    new = replacement(fleet.fresh[fleet.master.id])
    fleet.api.expect(fleet.master.id, delay_s=3, replacement=new)
    said = fleet.roll("--patience", "1")
    assert said.status == 3
    assert f"load balancer {PAIR} is PENDING_UPDATE" in said.err
    # It ends all the same, and the next run waits for it first.
    said = fleet.roll()
    assert said.status == 0, said
    assert said.out.startswith(f"waiting for {PAIR}, which Octavia is changing\n")
    assert [one.amphora for one in fleet.api.failovers()].count(fleet.master.id) == 1


def test_roll_waits_for_changes_of_others(fleet: Fleet) -> None:
    """A load balancer that somebody else changes is waited for, not left alone."""
    fleet.api.set_status(SINGLE, "PENDING_UPDATE")
    timer = threading.Timer(0.5, fleet.api.set_status, (SINGLE, "ACTIVE"))
    timer.start()
    said = fleet.roll()
    timer.join()
    assert said.status == 0, said
    assert fleet.ids() == {machine.id for machine in fleet.fresh.values()}


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_roll_that_is_ended_is_taken_up_by_the_next_one(
    fleet: Fleet, number: signal.Signals, status: int
) -> None:
    """Ended while one is replaced, the next run replaces the others, and not that one again."""
    new = replacement(fleet.fresh[fleet.master.id])
    fleet.api.expect(fleet.master.id, delay_s=1.5, replacement=new)
    words = fleet.words("roll", "--image", NEW_IMAGE, "--interval", "0.1")
    program = f"import sys; from amphora_controller.cli import main; sys.exit(main({words!r}))"
    with subprocess.Popen(
        fleet.console.place.outer.command(sys.executable, "-u", "-c", program),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as ended:
        assert ended.stdout is not None
        for line in ended.stdout:
            if "being replaced" in line:
                ended.send_signal(number)
        _, errors = ended.communicate(timeout=_DEADLINE_S)
    assert ended.returncode == status, errors
    assert "Traceback" not in errors
    assert fleet.api.failovers() == []
    said = fleet.roll()
    assert said.status == 0, said
    assert fleet.ids() == {machine.id for machine in fleet.fresh.values()}
    done = [one.amphora for one in fleet.api.failovers()]
    assert sorted(done) == sorted(fleet.fresh)


def _line_of(text: str, words: str) -> str:
    [line] = [line for line in text.splitlines() if words in line]
    return line


def _address(number: int) -> str:
    return f"127.0.0.{number}"


@contextmanager
def _started(
    shared: Place, number: int, *, inner: Namespace | None = None, since_days: int = 0
) -> Iterator[Place]:
    """An agent that listens at an address of its own; it is not awaited."""
    place = dataclasses.replace(
        shared,
        inner=inner or shared.inner,
        directory=shared.directory / str(number),
        amphora_id=uuid.uuid4(),
    )
    place.base.mkdir(parents=True)
    pem = place.pki.amphora_pem(place.amphora_id, since_days=since_days)
    place.server_pem.write_bytes(pem)
    place.write_config()
    with place.config_file.open("a") as stream:
        stream.write(f"[haproxy_amphora]\nbind_host = {_address(number)}\n")
    process = place.start()
    try:
        yield place
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)


def _answers(place: Place) -> bool | None:
    address = IPv4Address(_address(int(place.directory.name)))
    client: Client = dataclasses.replace(place.client(place.pki.controller), address=address)
    try:
        return client.request("GET", "/").status == 200 or None
    except (OSError, RefusedError):
        return None
