# SPDX-License-Identifier: Apache-2.0
"""The life of an amphora: boot, VIP, listener, members, traffic, heartbeats, removal.

One boot of the image, driven by Octavia's own driver.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import HEARTBEAT_KEY
from tests.support import configdrive, heartbeats, lab, ssh
from tests.support import guest as guests
from tests.support.balancer import Listener, LoadBalancer, Member, Pool, Rejection, VipPort
from tests.support.guest import Guest, Hardware, Plan
from tests.support.http_member import fetch, http_member
from tests.support.measurements import Measurements
from tests.support.mutual_tls import RefusedError
from tests.support.octavia_driver import Octavia, OctaviaError
from tests.support.waiting import until

# Emulation of two CPUs on a busy host of two is slow; a machine that works is far quicker.
BOOT_DEADLINE_S = 400
STEP_DEADLINE_S = 90

pytestmark = pytest.mark.usefixtures("guest")

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class HealthManager:
    """Heartbeats, opened by Octavia."""

    ear: heartbeats.Listener
    controller: Octavia

    def next(self) -> Message:
        """The next heartbeat to come."""
        datagram = self.ear.next(deadline_s=STEP_DEADLINE_S)
        return self.controller.unwrap_envelope(datagram.payload, HEARTBEAT_KEY)

    def mark(self) -> int:
        """How many heartbeats have come so far."""
        return len(self.ear.received())

    def since(self, mark: int) -> list[Message]:
        """Every heartbeat after a mark."""
        return [
            self.controller.unwrap_envelope(datagram.payload, HEARTBEAT_KEY)
            for datagram in self.ear.received()[mark:]
        ]

    def wait_for(self, what: str, fulfilled: Callable[[Message], bool]) -> Message:
        """The first heartbeat from now on that fulfils a condition."""

        def probe() -> Message | None:
            message = self.next()
            return message if fulfilled(message) else None

        return until(f"a heartbeat with {what}", probe, deadline_s=STEP_DEADLINE_S, every_s=0)


@pytest.fixture(scope="module")
def health(health_manager: heartbeats.Listener, controller: Octavia) -> HealthManager:
    return HealthManager(ear=health_manager, controller=controller)


@pytest.fixture(scope="module")
def guest(
    plan: Plan, hardware: Hardware, health: HealthManager, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """The amphora of this story; the health manager listens before it is switched on."""
    iso = tmp_path_factory.mktemp("drive") / "drive.iso"
    server_pem = plan.pki.amphora_pem(plan.amphora.id)
    configdrive.write_iso(plan.drive(health.controller, server_pem=server_pem), iso)
    with guests.boot(plan, hardware, config_drive=iso) as booted:
        yield booted


@pytest.fixture(scope="module")
def balancer(plan: Plan) -> Iterator[LoadBalancer]:
    """A load balancer with one HTTP listener, and two members that answer with their names."""
    inside = plan.networks.namespace
    one, two = plan.networks.add_member_address(11), plan.networks.add_member_address(12)
    pool = Pool(members=(Member(address=one, port=80), Member(address=two, port=80)))
    with http_member(inside, "one", one), http_member(inside, "two", two):
        yield LoadBalancer(
            vip=lab.VIP[5], amphora=plan.amphora, listeners=(Listener(port=80, pool=pool),)
        )


@pytest.fixture(scope="module")
def vip_port(plan: Plan) -> VipPort:
    return VipPort(
        mac=guests.VIP_NIC.mac, subnet=lab.VIP, gateway=plan.networks.gateway, mtu=lab.MTU
    )


def answers(guest: Guest, balancer: LoadBalancer, count: int) -> list[str]:
    """Who answered each of `count` requests through the VIP, each on its own connection."""
    inside, port = guest.plan.networks.namespace, balancer.listeners[0].port
    return [fetch(inside, balancer.vip, port).text for _request in range(count)]


def without_second_member(balancer: LoadBalancer) -> LoadBalancer:
    """The load balancer after one of its members was removed."""
    [listener] = balancer.listeners
    pool = replace(listener.pool, members=listener.pool.members[:1])
    return replace(balancer, listeners=(replace(listener, pool=pool),))


def exchanges(controller: Octavia, after: int) -> list[tuple[str, str, int | None]]:
    """Method, path and status of the driver's exchanges numbered `after` and later."""
    return [(item.method, item.path, item.status) for item in controller.exchanges()[after:]]


def test_amphora_answers_the_controller(guest: Guest, image: Path, figures: Measurements) -> None:
    """After power-on the amphora answers GET // over mutual TLS."""
    figures.note("image size, MiB", image.stat().st_size / 2**20)
    figures.note(
        "power-on to first mutual-TLS 200, s", guest.wait_for_answer(deadline_s=BOOT_DEADLINE_S)
    )
    status, body = guest.plan.client(guest.plan.pki.controller).get("//")
    assert (status, body.strip()) == (200, '{"api_version":"1.0"}')


def test_heartbeats_come_without_a_listener(
    guest: Guest, health: HealthManager, figures: Measurements
) -> None:
    """The first heartbeat is version 3, bears the amphora's id and counts no listener."""
    [first, *_rest] = health.ear.wait_for(1, deadline_s=STEP_DEADLINE_S)
    figures.note("power-on to first heartbeat, s", first.arrived - guest.machine.powered_on)
    message = health.controller.unwrap_envelope(first.payload, HEARTBEAT_KEY)
    assert message["id"] == str(guest.plan.amphora.id)
    assert (message["ver"], message["listeners"], message["pools"]) == (3, {}, {})


def test_heartbeat_does_not_open_with_another_key(guest: Guest, health: HealthManager) -> None:
    """Octavia drops a heartbeat when its key is not the one in the agent's configuration."""
    datagram = health.ear.next(deadline_s=STEP_DEADLINE_S)
    with pytest.raises(OctaviaError) as caught:
        health.controller.unwrap_envelope(datagram.payload, f"not-{HEARTBEAT_KEY}")
    assert caught.value.kind == "InvalidHMACException"
    assert health.controller.unwrap_envelope(datagram.payload, HEARTBEAT_KEY)["id"] == str(
        guest.plan.amphora.id
    )


def test_strangers_are_refused(guest: Guest) -> None:
    """Without a certificate, or with one of another authority, there is no answer at all."""
    for identity in (None, guest.plan.pki.stranger):
        with pytest.raises(RefusedError):
            guest.plan.client(identity).get("//")
    assert guest.plan.client(guest.plan.pki.controller).get("//")[0] == 200


def test_shell_opens_with_the_injected_key(guest: Guest, tmp_path: Path) -> None:
    """The key pair of the config drive opens a shell as root; another key does not."""
    guest.wait_for_shell(deadline_s=STEP_DEADLINE_S)
    assert guest.shell.run("id -u").strip() == "0"
    stranger = replace(guest.shell, key=ssh.create_key_pair(tmp_path).private)
    with pytest.raises(ssh.RemoteError, match="Permission denied"):
        stranger.run("true")


def test_boot_input_is_in_place(guest: Guest) -> None:
    """Host name, injected files and their modes are what the config drive said."""
    assert guest.shell.run("hostname").strip() == guest.plan.name
    secret = {guests.SERVER_PEM, guests.AGENT_CONFIG}
    for path in (guests.SERVER_PEM, guests.AGENT_CONFIG, guests.CLIENT_CA, guests.RSYSLOG):
        mode, owner = guest.shell.run(f"stat -c '%a %U:%G' {path}").split()
        assert owner == "root:root"
        assert int(mode, 8) & 0o022 == 0, f"{path} has mode {mode}"
        assert path not in secret or mode == "600", f"{path} has mode {mode}"
    ca = guest.shell.run(f"cat {guests.CLIENT_CA}")
    assert ca == guest.plan.pki.client_chain.read_text()


def test_management_network_is_static(guest: Guest) -> None:
    """The management NIC has the address and the MTU of the port, and there is no default route."""
    addresses = guest.shell.run("ip -4 -o address show scope global")
    assert re.findall(r"inet (\S+)", addresses) == [
        f"{guest.plan.amphora.management_address}/{lab.MGMT.prefixlen}"
    ]
    [link] = re.findall(r"^\d+: (\S+)", addresses, re.MULTILINE)
    assert int(guest.shell.run(f"cat /sys/class/net/{link}/mtu")) == lab.MTU
    assert guest.shell.run("ip -4 route show default") == ""
    assert guest.shell.run("ip -6 route show default") == ""


def test_version_and_info_are_understood(guest: Guest, controller: Octavia) -> None:
    """The driver finds API 1.0, this amphora's name, and a haproxy version that it can compare."""
    assert controller.version(guest.plan.amphora) == "1.0"
    info = controller.info(guest.plan.amphora)
    assert info["hostname"] == guest.plan.name
    assert re.match(r"\d+\.\d+", info["haproxy_version"])
    assert info["api_version"] == "1.0"


def test_details_hold_what_the_renderer_reads(guest: Guest, controller: Octavia) -> None:
    """CPUs and memory are integers (memory in kB), and the profiles of tuned are a string."""
    details = controller.client(guest.plan.amphora, "get_details")
    assert details["cpu_count"] == int(guest.shell.run("nproc"))
    [total] = re.findall(r"MemTotal:\s+(\d+) kB", guest.shell.run("cat /proc/meminfo"))
    assert details["memory"]["total"] == int(total)
    assert all(isinstance(details["memory"][name], int) for name in ("free", "buffers", "cached"))
    assert isinstance(details["active_tuned_profiles"], str)


def test_unknown_path_is_a_json_object(guest: Guest) -> None:
    """A 404 that is not JSON would be repeated by the driver for ten minutes."""
    status, body = guest.plan.client(guest.plan.pki.controller).get("/1.0/no-such-thing")
    assert status == 404
    assert isinstance(json.loads(body), dict)


def test_idle_amphora_is_whole_and_measured(guest: Guest, figures: Measurements) -> None:
    """No unit has failed; memory is measured before there is a load balancer."""
    assert guest.shell.run("systemctl --failed --plain --no-legend") == ""
    total = 0
    for unit in ("amphora-agent", "amphora-heartbeat"):
        sizes = process_sizes(guest, unit)
        assert sizes, f"{unit} has no process"
        total += sum(sizes)
        for number, kilobytes in enumerate(sizes, 1):
            figures.note(f"PSS of {unit}, process {number}, MiB", kilobytes / 1024)
    figures.note("PSS of all agent processes, MiB", total / 1024)
    memory = dict(
        re.findall(r"^(\w+):\s+(\d+) kB", guest.shell.run("cat /proc/meminfo"), re.MULTILINE)
    )
    used = int(memory["MemTotal"]) - int(memory["MemAvailable"])
    figures.note("memory used when idle, MiB", used / 1024)
    figures.note("memory of the machine, MiB", int(memory["MemTotal"]) / 1024)
    disk = guest.shell.run("df --output=used -k /").split()[-1]
    figures.note("root file system in use, MiB", int(disk) / 1024)


def process_sizes(guest: Guest, unit: str) -> list[int]:
    """Proportional set size in kB of each process of a unit."""
    listing = guest.shell.run(
        f"for pid in $(cat /sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs); do"
        " grep ^Pss: /proc/$pid/smaps_rollup; done"
    )
    return [int(size) for size in re.findall(r"Pss:\s+(\d+) kB", listing)]


def test_vip_is_plugged_when_its_nic_comes(
    guest: Guest,
    controller: Octavia,
    balancer: LoadBalancer,
    vip_port: VipPort,
    figures: Measurements,
) -> None:
    """The plug is refused with the retryable 404 until Nova's NIC is there, then accepted."""
    before = len(controller.exchanges())
    call = controller.post_vip_plug(balancer, vip_port)
    missing = controller.wait_for_exchange(404, after=before, deadline_s=STEP_DEADLINE_S)
    assert "No suitable network interface found" in missing.body
    plugged = guest.machine.age_s
    guest.machine.plug(guests.VIP_NIC)
    call.result(timeout=STEP_DEADLINE_S)
    figures.note("NIC hot-plugged to VIP plugged, s", guest.machine.age_s - plugged)
    statuses = [item.status for item in controller.exchanges()[before:] if item.method == "POST"]
    assert set(statuses[:-1]) == {404}
    assert statuses[-1] == 202


def test_vip_plugged_twice_stays_plugged(
    guest: Guest, controller: Octavia, balancer: LoadBalancer, vip_port: VipPort
) -> None:
    """A second plug of the same port is no failure for the driver."""
    before = len(controller.exchanges())
    controller.post_vip_plug(balancer, vip_port).result(timeout=STEP_DEADLINE_S)
    assert controller.exchanges()[before:][-1].status in {202, 409}
    assert controller.interface(guest.plan.amphora, guest.plan.amphora.vrrp_address) == "eth1"


def test_interface_is_found_by_its_addresses(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """Base address and VIP are on eth1; for an address that nobody has the answer is NotFound."""
    for address in (guest.plan.amphora.vrrp_address, balancer.vip):
        assert controller.interface(guest.plan.amphora, address) == "eth1"
    with pytest.raises(OctaviaError) as caught:
        controller.interface(guest.plan.amphora, lab.VIP[99])
    assert caught.value.kind == "NotFound"


def test_listener_reaches_both_members(
    guest: Guest, controller: Octavia, balancer: LoadBalancer, figures: Measurements
) -> None:
    """After one push in the driver's order, requests through the VIP reach both members in turn."""
    before = len(controller.exchanges())
    controller.update(balancer)
    assert exchanges(controller, before) == [
        ("GET", "//", 200),
        ("GET", "/1.0/info", 200),
        ("GET", "/1.0/details", 200),
        ("PUT", f"/1.0/loadbalancer/{guest.plan.amphora.id}/{balancer.id}/haproxy", 202),
        ("PUT", f"/1.0/loadbalancer/{balancer.id}/reload", 202),
    ]
    upload, reload = controller.exchanges()[before:][-2:]
    figures.note("haproxy.cfg upload, s", upload.elapsed_s)
    figures.note("first reload (start), s", reload.elapsed_s)
    assert sorted(answers(guest, balancer, 8)) == ["one"] * 4 + ["two"] * 4


def test_heartbeats_count_the_listener(health: HealthManager, balancer: LoadBalancer) -> None:
    """Heartbeats hold exactly the enabled listener, its pool under `pool:listener`, its members."""
    [listener] = balancer.listeners
    health.wait_for("the listener", lambda message: str(listener.id) in message["listeners"])
    for _heartbeat in range(3):
        message = health.next()
        assert set(message["listeners"]) == {str(listener.id)}
        assert message["listeners"][str(listener.id)]["status"] == "OPEN"
        assert message["pools"] == {
            f"{listener.pool.id}:{listener.id}": {
                "status": "UP",
                "members": {str(member.id): "no check" for member in listener.pool.members},
            }
        }


def test_heartbeats_bill_every_connection_once(
    guest: Guest, health: HealthManager, balancer: LoadBalancer
) -> None:
    """The deltas of later heartbeats add up to the connections made, then return to zero."""
    listener_id = str(balancer.listeners[0].id)

    def stats(message: Message) -> dict[str, int]:
        return dict(message["listeners"][listener_id]["stats"])

    health.wait_for("no new connection", lambda message: stats(message)["totconns"] == 0)
    mark = health.mark()
    answers(guest, balancer, 10)
    health.wait_for(
        "ten connections",
        lambda _message: sum(stats(item)["totconns"] for item in health.since(mark)) >= 10,
    )
    last = stats(health.next())
    billed = [stats(message) for message in health.since(mark)]
    assert sum(item["totconns"] for item in billed) == 10
    assert sum(item["rx"] for item in billed) > 0
    assert sum(item["tx"] for item in billed) > 0
    assert sum(item["ereq"] for item in billed) == 0
    assert last == {"tx": 0, "rx": 0, "conns": 0, "totconns": 0, "ereq": 0}


def test_heartbeats_bill_a_worker_that_lived_between_two_of_them(
    guest: Guest, controller: Octavia, health: HealthManager, balancer: LoadBalancer
) -> None:
    """Two reloads in a row, with requests after each: no connection is billed twice or never."""
    [listener] = balancer.listeners
    policies = (Rejection(prefix="/one"), Rejection(prefix="/two"))

    def billed(mark: int) -> int:
        messages = health.since(mark)
        return sum(item["listeners"][str(listener.id)]["stats"]["totconns"] for item in messages)

    def reloaded() -> int:
        return guest.shell.run("journalctl --unit amphora-heartbeat").count(": Reloaded ")

    reloads = reloaded()
    health.next()
    mark = health.mark()
    for count in (1, 2):
        changed = replace(listener, policies=policies[:count])
        controller.update(replace(balancer, listeners=(changed,)))
        answers(guest, balancer, 5)
    controller.update(balancer)
    health.wait_for("ten connections", lambda _message: billed(mark) >= 10)
    health.next()
    assert billed(mark) == 10
    # The sender was told of each, and met the worker: both may have lived within one period.
    assert reloaded() == reloads + 3


def test_invalid_configuration_is_refused(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """An invalid haproxy.cfg is answered with 400 and the reason; the old one keeps serving."""
    client = guest.plan.client(guest.plan.pki.controller)
    path = f"/1.0/loadbalancer/{balancer.id}/haproxy"
    kept = client.get(path)
    before = len(controller.exchanges())
    with pytest.raises(OctaviaError) as caught:
        controller.client(
            guest.plan.amphora, "upload_config", str(balancer.id), "frontend f\n    bnid :80\n"
        )
    assert caught.value.kind == "InvalidRequest"
    refused = controller.exchanges()[before:][-1]
    assert refused.status == 400
    assert "bnid" in refused.body
    assert client.get(path) == kept
    assert set(answers(guest, balancer, 4)) == {"one", "two"}


def test_removed_member_is_no_longer_asked(
    guest: Guest, controller: Octavia, health: HealthManager, balancer: LoadBalancer
) -> None:
    """After a member was removed only the other one answers, and heartbeats list no other."""
    fewer = without_second_member(balancer)
    controller.update(fewer)
    # haproxy reloads without a gap: its old process may answer until the new one has taken over.
    until(
        "answers of one member alone",
        lambda: set(answers(guest, balancer, 4)) == {"one"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.2,
    )
    assert answers(guest, balancer, 6) == ["one"] * 6
    [listener] = fewer.listeners
    remaining = {str(member.id) for member in listener.pool.members}
    health.wait_for(
        "one member",
        lambda message: (
            set(message["pools"][f"{listener.pool.id}:{listener.id}"]["members"]) == remaining
        ),
    )


def test_deleted_listener_is_gone(
    guest: Guest, controller: Octavia, health: HealthManager, balancer: LoadBalancer
) -> None:
    """After the last listener was deleted the VIP refuses connections and heartbeats count none."""
    fewer = without_second_member(balancer)
    before = len(controller.exchanges())
    controller.delete(fewer, fewer.listeners[0].id)
    assert exchanges(controller, before) == [
        ("GET", "//", 200),
        ("DELETE", f"/1.0/listeners/{balancer.id}", 200),
    ]
    with pytest.raises(ConnectionRefusedError):
        answers(guest, balancer, 1)
    message = health.wait_for("no listener", lambda message: message["listeners"] == {})
    assert message["pools"] == {}
    status, _body = guest.plan.client(guest.plan.pki.controller).get(
        f"/1.0/loadbalancer/{balancer.id}/haproxy"
    )
    assert status == 404
    assert guest.shell.run("systemctl --failed --plain --no-legend") == ""
