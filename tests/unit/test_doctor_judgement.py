# SPDX-License-Identifier: Apache-2.0
"""What doctor makes of facts: one fault is told once, by the first hop that it shows at."""

import datetime
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from amphora_controller import oslo_conf
from amphora_controller.amphora.client import Hop
from amphora_controller.amphora.probe import Result
from amphora_controller.doctor import amphorae, cloud, configuration, managers, options
from amphora_controller.doctor.amphorae import Way
from amphora_controller.doctor.cloud import Clock, Flavor, Image, Network
from amphora_controller.doctor.conf_file import ConfFile
from amphora_controller.doctor.findings import (
    Check,
    Late,
    NotAsked,
    Note,
    Outcome,
    Unproven,
    conclusion,
    examined,
    exit_status,
    failed,
    ok,
    unknown,
)
from amphora_controller.doctor.jobs import Jobs
from amphora_controller.doctor.managers import Owner, Reply, UdpSocket
from amphora_controller.doctor.options import Endpoint, Options
from amphora_controller.doctor.proc_net import entries
from amphora_controller.doctor.questions import Asked, Unverified
from amphora_controller.doctor.rules import Rule, lets
from amphora_controller.errors import ControllerError

BIND = Endpoint(ip_address("192.0.2.1"), 5555)
NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)
CONF = """
[DEFAULT]
transport_url = rabbit://u:p@mq:5672/
[database]
connection = mysql+pymysql://u:p@db/octavia
[health_manager]
bind_ip = 192.0.2.1
heartbeat_key = key
controller_ip_port_list = 192.0.2.1:5555, 192.0.2.2:5555
[controller_worker]
amp_boot_network_list = net
amp_secgroup_list = group
amp_flavor_id = flavor
amp_image_tag = amphora
"""


def opts(*replacements: tuple[str, str]) -> Options:
    """Options of the usual file, with pieces of its text replaced."""
    return options.read(read(text(*replacements)))


def read(content: str) -> ConfFile:
    """What a text sets."""
    return ConfFile(sections=oslo_conf.parse(content, "octavia.conf"))


def text(*replacements: tuple[str, str]) -> str:
    """The usual file, with pieces replaced."""
    found = CONF
    for old, new in replacements:
        assert old in found
        found = found.replace(old, new)
    return found


def outcomes(notes: Sequence[Note]) -> list[Outcome]:
    """Outcomes alone."""
    return [note.outcome for note in notes]


# What follows from what


def gives(*notes: Note) -> Callable[[], Sequence[Note]]:
    """A look that gives notes."""
    return lambda: notes


def raises(error: Exception) -> Callable[[], Sequence[Note]]:
    """A look that raises."""

    def look() -> Sequence[Note]:
        raise error

    return look


def test_consequence_is_skipped_and_names_the_first_cause() -> None:
    """Of three hops that fail one after the other only the first is a failure."""
    found = list(
        examined(
            [
                Check(hop="one", look=gives(failed("broken", "mend it"))),
                Check(hop="two", look=gives(failed("no answer", "")), needs=("one",)),
                Check(hop="three", look=gives(unknown("nothing", "")), needs=("two",)),
                Check(hop="beside", look=gives(ok("fine"))),
            ]
        )
    )
    assert outcomes([item.note for item in found]) == [
        *(Outcome.FAILED, Outcome.SKIPPED, Outcome.SKIPPED, Outcome.OK),
    ]
    assert found[2].note.seen == "says nothing before one is well (nothing)"
    assert conclusion(found) == "failed: one"
    assert exit_status(found) == 1


def test_what_is_well_or_stands_by_itself_is_told_all_the_same() -> None:
    """A cause of its own and a hop that is well are not hidden by a need that failed."""
    found = examined(
        [
            Check(hop="one", look=gives(failed("broken", "mend it"))),
            Check(
                hop="two", look=gives(failed("other", "x", is_cause=True), ok("y")), needs=("one",)
            ),
        ]
    )
    assert outcomes([item.note for item in found]) == [Outcome.FAILED, Outcome.FAILED, Outcome.OK]


def test_doubt_hides_doubt_and_no_failure() -> None:
    """Where a need is unknown, a failure is one, and what is unknown too is skipped."""
    found = list(
        examined(
            [
                Check(hop="one", look=raises(Late(8))),
                Check(hop="two", look=raises(Late(8)), needs=("one",)),
                Check(hop="three", look=gives(failed("broken", "mend it")), needs=("one",)),
            ]
        )
    )
    assert outcomes([item.note for item in found]) == [
        *(Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.FAILED),
    ]
    assert found[0].note.seen == "no answer within 8 s"
    # What was told before is not told again.
    assert found[1].note.seen == "says nothing before one is well"


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (ControllerError("wrong", "do"), Outcome.FAILED, 1),
        (Unproven("may not", "do"), Outcome.UNKNOWN, 2),
        (NotAsked("none given", "do"), Outcome.SKIPPED, 0),
    ],
)
def test_errors_have_outcomes(error: ControllerError, outcome: Outcome, status: int) -> None:
    """What is wrong, what may not be seen and what nobody gave are told apart."""
    found = list(examined([Check(hop="one", look=raises(error))]))
    assert outcomes([item.note for item in found]) == [outcome]
    assert exit_status(found) == status


def test_what_nobody_gave_is_told_once() -> None:
    """Hops that are skipped for one reason name the first of them instead of telling it again."""
    missing = raises(NotAsked("none given", "do"))
    found = list(examined([Check(hop="one", look=missing), Check(hop="two", look=missing)]))
    assert [item.note.seen for item in found] == ["none given", "as one"]


def test_fault_of_the_program_is_not_hidden() -> None:
    """An error that no look is known for is raised."""
    with pytest.raises(ZeroDivisionError):
        list(examined([Check(hop="one", look=raises(ZeroDivisionError()))]))


# Jobs


def test_job_that_hangs_is_left_behind() -> None:
    """Nobody waits for it longer than was agreed; another one beside it has its result."""
    ended = threading.Event()
    jobs = Jobs(0.2)
    hanging, quick = jobs.start(lambda: ended.wait(30)), jobs.start(lambda: 7)
    begun = time.monotonic()
    with pytest.raises(Late):
        hanging.result()
    assert time.monotonic() - begun < 5
    assert quick.result() == 7
    ended.set()


def test_error_of_a_job_is_raised_where_its_result_is_wanted() -> None:
    """As often as somebody wants it."""
    job = Jobs(5).start(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            job.result()


# Health managers


_FREE = " 00:00000000 00000000     0        0"
TABLE = f"""\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode …
 2050: 010200C0:15B3 00000000:0000 07 00000000:00000240{_FREE} 72915 2 0000000000000000 3
 2051: 00000000:0000 00000000:0000 07 00000000:00000000{_FREE} 72916 2 0000000000000000 0
short line
"""


def test_table_of_the_kernel_is_read() -> None:
    """Address, port, what waits and what was dropped; unbound sockets and other lines are left."""
    (found,) = entries(TABLE)
    assert (found.local, found.inode, found.waiting_bytes, found.dropped) == (BIND, 72915, 576, 3)


def udp_socket(command: str = "python octavia-health-manager", **changes: object) -> UdpSocket:
    """A socket at the usual place."""
    fields: dict[str, object] = {
        "local": BIND,
        "waiting_bytes": (0, 0),
        "dropped": 0,
        "owners": (Owner(pid=1, command=command),) if command else (),
    }
    return UdpSocket(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sockets", "outcome", "words"),
    [
        ([udp_socket()], Outcome.OK, "process 1"),
        ([udp_socket(dropped=5)], Outcome.OK, "5 heartbeats came faster"),
        (
            [udp_socket(local=Endpoint(ip_address("::"), 5555))],
            Outcome.OK,
            "process 1",
        ),
        ([], Outcome.FAILED, "nobody listens there"),
        (
            [udp_socket(local=Endpoint(ip_address("127.0.0.1"), 5555))],
            Outcome.FAILED,
            "only at 127.0.0.1:5555",
        ),
        ([udp_socket("nc -u -l")], Outcome.FAILED, "belongs to nc -u -l"),
        ([udp_socket("")], Outcome.UNKNOWN, "cannot be seen"),
        ([udp_socket(waiting_bytes=(576, 576))], Outcome.FAILED, "does not read"),
        ([udp_socket(waiting_bytes=(576, 0))], Outcome.OK, "process 1"),
    ],
)
def test_local_health_manager(sockets: list[UdpSocket], outcome: Outcome, words: str) -> None:
    """A live one, none, somebody else's and one that hangs are told apart."""
    (note,) = managers.here(BIND, sockets)
    assert (note.outcome, words in note.seen) == (outcome, True), note


def test_silence_of_another_host_proves_nothing() -> None:
    """Only a refusal beside silence is a sign of life; silence alone is unknown."""
    found = {reply: managers.elsewhere(reply).outcome for reply in Reply}
    assert found == {
        Reply.REFUSED: Outcome.FAILED,
        Reply.UNREACHABLE: Outcome.FAILED,
        Reply.LISTENS: Outcome.OK,
        Reply.SILENT: Outcome.UNKNOWN,
    }


# Security groups


def rule(**changes: object) -> Rule:
    """A rule that lets everything of IPv4 in."""
    fields: dict[str, object] = {
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": None,
        "ports": (None, None),
        "prefix": None,
        "group": None,
        "address_group": None,
    }
    return Rule(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "is_let"),
    [
        (rule(), True),
        (rule(protocol="tcp"), True),
        (rule(protocol="6"), True),
        (rule(protocol="udp"), False),
        (rule(direction="egress"), False),
        (rule(ethertype="IPv6"), False),
        (rule(protocol="tcp", ports=(9443, 9443)), True),
        (rule(protocol="tcp", ports=(9000, 9442)), False),
        (rule(prefix="192.0.2.0/24"), True),
        (rule(prefix="192.0.2.1"), True),
        (rule(prefix="198.51.100.0/24"), False),
        (rule(group="controllers"), True),
        (rule(group="amphorae"), False),
        (rule(address_group="some"), True),
    ],
)
def test_rule_lets_what_it_says(found: Rule, is_let: bool) -> None:
    """Direction, protocol by name or number, ports and the other side all have to fit."""
    assert is_let is lets(
        [found],
        direction="ingress",
        protocol="tcp",
        port=9443,
        peer=ip_address("192.0.2.1"),
        peer_groups={"controllers"},
    )


def test_network_must_be_let_in_whole() -> None:
    """A rule for a part of the management network leaves amphorae out."""

    def let(prefix: str) -> bool:
        return lets(
            [rule(prefix=prefix)],
            direction="ingress",
            protocol="udp",
            port=5555,
            peer=ip_network("192.0.2.0/24"),
            peer_groups=None,
        )

    assert let("192.0.0.0/16")
    assert not let("192.0.2.0/25")


# Images


def image(name: str = "new", **changes: object) -> Image:
    """An image that is well."""
    fields: dict[str, object] = {
        "id": f"id-{name}",
        "name": name,
        "owner": "octavia",
        "status": "active",
        "created_at": NOW,
        "min_disk_gb": 0,
        "min_ram_mb": 0,
    }
    return Image(**{**fields, **changes})  # type: ignore[arg-type]


_OLD = NOW - datetime.timedelta(days=9)
_SMALL = Flavor(name="small", ram_mb=512, disk_gb=2)


@pytest.mark.parametrize(
    ("images", "owner", "outcome", "words"),
    [
        ([image()], "", Outcome.OK, "id-new"),
        ([image("old", created_at=_OLD), image()], "", Outcome.OK, "new (id-new)"),
        ([image("old", created_at=_OLD), image(owner="foe")], "", Outcome.FAILED, "is project foe"),
        ([image("old", created_at=_OLD), image(owner="foe")], "octavia", Outcome.OK, "id-old"),
        ([image(owner="foe")], "octavia", Outcome.FAILED, "new of foe is not"),
        ([image(status="queued")], "", Outcome.FAILED, "new is queued"),
        ([], "", Outcome.FAILED, "no image has the tag amphora"),
        ([image(min_disk_gb=3)], "", Outcome.FAILED, "needs 3 GB"),
        ([image(min_ram_mb=513)], "", Outcome.FAILED, "513 MB"),
    ],
)
def test_image_is_the_one_that_octavia_takes(
    images: list[Image], owner: str, outcome: Outcome, words: str
) -> None:
    """The newest active one with the tag and of the owner decides."""
    said = opts(
        ("amp_image_tag = amphora", f"amp_image_tag = amphora\namp_image_owner_id = {owner}")
    )
    (note,) = cloud.image(images, said, "octavia", _SMALL)
    assert (note.outcome, words in note.seen) == (outcome, True), note


def test_physical_network_needs_no_port_unless_neutron_gives_the_address_away() -> None:
    """On a flat network a host may have an address that is in no pool of Neutron's."""

    def judged(kind: str, last: str) -> Outcome:
        pools = ((ip_address("192.0.2.0"), ip_address(last)),)
        found = Network(id="net", name="mgmt", kind=kind, subnets=("192.0.2.0/24",), pools=pools)
        (note,) = cloud.port(None, None, [found], opts())
        return note.outcome

    assert judged("flat", "192.0.2.0") is Outcome.OK
    assert judged("flat", "192.0.2.1") is Outcome.FAILED
    assert judged("vxlan", "192.0.2.0") is Outcome.FAILED


# octavia.conf


def test_usual_file_is_well() -> None:
    """Nothing is said against a file that has everything."""
    (settings,) = configuration.settings(read(CONF))
    (controllers,) = configuration.controllers(opts(), ())
    assert (settings.outcome, controllers.outcome) == (Outcome.OK, Outcome.OK)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("heartbeat_key = key", "", "[health_manager] heartbeat_key is not set"),
        ("heartbeat_key = key", "heartbeat_key = a$b", "heartbeat_key holds a `$`"),
        ("[controller_worker]", "[haproxy_amphora]", "it stands in [haproxy_amphora]"),
        ("u:p@db", "u:p@ss@db", "the password holds an @"),
        ("@db/octavia", "@db", "it names no database"),
        ("mysql+pymysql://u", "mysql", "it is not DIALECT://"),
        ("u:p@mq", "u:p@x@mq", "host 1: the password holds an @"),
        ("u:p@mq", "u:p/x@mq", "host 1 cannot be read"),
        (
            "[database]",
            "[certificates]\nserver_certs_key_passphrase = short\n[database]",
            "entry 1 has 5 characters",
        ),
        (
            "[database]",
            "[amphora_agent]\nadmin_log_targets = h:1\n"
            "disable_local_log_storage = True\n[database]",
            "that rsyslog refuses",
        ),
    ],
)
def test_fault_of_the_file_is_told(old: str, new: str, words: str) -> None:
    """Each is named by its option, and no secret is said."""
    found = list(configuration.settings(read(text((old, new)))))
    assert any(words in note.seen for note in found), found
    assert all(note.outcome is Outcome.FAILED and note.do for note in found)
    assert "p@ss" not in str(found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("192.0.2.2:5555", "controller2:5555", "'controller2:5555' is not ADDRESS:PORT"),
        ("192.0.2.2:5555", "192.0.2.2", "is not ADDRESS:PORT"),
        ("192.0.2.2:5555", "127.0.0.1:5555", "leads every amphora to itself"),
        ("192.0.2.1:5555", "192.0.2.1:5556", "has port 5556 for this controller"),
        ("192.0.2.1:5555, ", "", "does not name this controller"),
        ("bind_ip = 192.0.2.1", "bind_ip = 127.0.0.1", "no amphora can reach that"),
        ("heartbeat_key", "heartbeat_timeout = 20\nheartbeat_key", "at an interval of 10 s"),
    ],
)
def test_fault_of_the_list_of_controllers_is_told(old: str, new: str, words: str) -> None:
    """What leads heartbeats astray is told once."""
    (note,) = configuration.controllers(opts((old, new)), ())
    assert note.outcome is Outcome.FAILED
    assert words in note.seen


def test_list_of_controllers_is_that_of_the_site() -> None:
    """Controllers that only the site has, and those that only octavia.conf has, are told."""
    third = Endpoint(ip_address("192.0.2.3"), 5555)
    found = list(configuration.controllers(opts(), (BIND, third)))
    assert ["does not name 192.0.2.3:5555" in note.seen for note in found] == [True, False]
    assert "names 192.0.2.2:5555, which is no controller" in found[1].seen


def test_secrets_stay_out_of_what_is_printed() -> None:
    """Neither key nor password stands in the representation of options."""
    said = opts(("key = key", "key = hidden-key"), ("[database]", "[service_auth]\nauth_url = x\n"
                "password = hidden-too\n[database]"))  # fmt: skip
    assert said.account.auth["password"] == "hidden-too"
    assert "hidden" not in repr(said)


# The way to an answer


def asked(*results: Result, unverified: Unverified | None = None) -> Asked:
    """What came of questions."""
    return Asked(at=NOW, results=results, unverified=unverified)


def bad(hop: Hop, message: str = "broken") -> Result:
    """A hop that failed."""
    return Result(hop=hop, well=False, message=message, hint="mend it")


def test_hops_before_the_failure_passed_and_those_behind_it_were_not_reached() -> None:
    """A handshake that fails proves the connection, and nothing of the API."""
    found = {
        way: outcomes(list(amphorae.notes(asked(bad(Hop.CLIENT_CERTIFICATE)), way))) for way in Way
    }
    assert found == {
        Way.TCP: [Outcome.OK],
        Way.AMPHORA: [Outcome.OK],
        Way.CONTROLLER: [Outcome.FAILED],
        Way.CLOCK: [Outcome.SKIPPED],
        Way.API: [Outcome.SKIPPED],
    }


@pytest.mark.parametrize(("ahead_days", "blamed"), [(40, Way.CLOCK), (0, Way.AMPHORA)])
def test_clock_is_blamed_only_if_it_explains_the_refusal(ahead_days: int, blamed: Way) -> None:
    """A certificate that has expired by both clocks is the fault, whatever the clocks are."""
    theirs = NOW - datetime.timedelta(days=ahead_days)
    until = NOW - datetime.timedelta(days=10)
    shown = Unverified(
        clock=theirs, valid_from=until - datetime.timedelta(days=30), valid_until=until
    )
    found = asked(bad(Hop.SERVER_CERTIFICATE, "has expired"), unverified=shown)
    judged = examined(
        [
            Check(hop=way, look=partial(amphorae.notes, found, way), needs=needs)
            for way, needs in ((Way.CLOCK, ()), (Way.AMPHORA, (Way.CLOCK,)))
        ]
    )
    assert [item.hop for item in judged if item.note.outcome is Outcome.FAILED] == [blamed]


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "3600 s ahead of"), (-3600, "3600 s behind"), (20, "20 s from")]
)
def test_clock_is_compared_with_keystones(seconds: int, words: str) -> None:
    """More than half a minute is told with its direction, less is ok."""
    note = cloud.clock(Clock(there=NOW, here=NOW + datetime.timedelta(seconds=seconds)))
    assert words in note.seen
    assert (note.outcome is Outcome.OK) is (abs(seconds) < 30)


def test_files_that_cannot_be_used_leave_all_hops_open() -> None:
    """Without certificates of one's own nothing can be asked."""
    found = asked(bad(Hop.FILES))
    for way in Way:
        assert outcomes(list(amphorae.notes(found, way))) == [Outcome.UNKNOWN]


def test_files_have_octavias_own_defaults() -> None:
    """What octavia.conf does not set is where Octavia looks for it."""
    assert opts().files.client_bundle == Path("/etc/octavia/certs/client.pem")
    assert len(set(opts().files.services)) == 5
