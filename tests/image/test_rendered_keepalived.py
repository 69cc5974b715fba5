# SPDX-License-Identifier: Apache-2.0
"""What is rendered for keepalived, told to the keepalived of the image.

The kernel of a build machine may have no IPVS, and its keepalived is another version.
"""

import io
import tarfile
from collections.abc import Iterator

import pytest

from amphora_agent import parse
from amphora_agent.balancer import keepalived, lvs
from amphora_agent.layout import NETNS, Layout
from tests.support import configdrive, waiting
from tests.support import guest as guests
from tests.support.guest import Guest, Hardware, Plan
from tests.support.keepalived_documents import Maker, decode
from tests.support.octavia_driver import Octavia
from tests.support.vrrp_pair import ADDRESSES, IDS, VIP, document

BOOT_DEADLINE_S = 400
STEP_DEADLINE_S = 60
_LVS = {"UDP", "SCTP"}
_IN_NETNS = f"ip netns exec {NETNS}"


@pytest.fixture(scope="module")
def guest(
    plan: Plan, hardware: Hardware, controller: Octavia, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """An amphora with a NIC called eth1 that leads nowhere."""
    iso = tmp_path_factory.mktemp("drive") / "drive.iso"
    server_pem = plan.pki.amphora_pem(plan.amphora.id)
    configdrive.write_iso(plan.drive(controller, server_pem=server_pem), iso)
    with guests.boot(plan, hardware, config_drive=iso) as booted:
        booted.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
        booted.shell.run(
            "systemctl start amphora-netns && "
            f"ip -n {NETNS} link add eth1 type veth peer name other && "
            f"ip -n {NETNS} address add {ADDRESSES[0]} dev eth1 && "
            f"ip -n {NETNS} address add 2001:db8::4/64 dev eth1 nodad && "
            f"ip -n {NETNS} link set other up && ip -n {NETNS} link set eth1 up"
        )
        yield booted


def checked(guest: Guest, texts: list[str]) -> list[list[str]]:
    """What keepalived says against each text."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number, text in enumerate(texts):
            content = text.encode()
            member = tarfile.TarInfo(f"{number:04}.conf")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    said = guest.shell.run(
        "mkdir -p /run/rendered && cd /run/rendered && rm -f * && tar x && for file in *.conf; do "
        f'{_IN_NETNS} keepalived -t -f "$file" 2>&1; echo "== $file"; done',
        stdin=archive.getvalue(),
    )
    parts = said.split("== ")[:-1]
    assert len(parts) == len(texts)
    return [parse.keepalived_faults(part) for part in parts]


def test_keepalived_of_the_image_takes_what_is_rendered(guest: Guest) -> None:
    """Not one text has a line that it complains about, and a mistake in each is found."""
    maker = Maker(seed=7, beyond=True)
    texts = []
    for made in (decode(maker.document()) for _ in range(40)):
        for amphora in made.amphorae[:1]:
            texts.append(keepalived.config(made, amphora.id, "eth1", Layout()))
        for listener in made.listeners:
            if listener.protocol in _LVS:
                texts.append(lvs.config(made, listener, Layout()))
    faults = checked(guest, texts)
    assert "\n".join(line for found in faults for line in found) == ""
    broken = [
        text.replace("virtual_router_id 1\n", "virtual_router_id 256\n").replace(
            "lb_kind NAT\n", "lb_kinds NAT\n"
        )
        for text in texts
    ]
    changed = [one for one, other in zip(broken, texts, strict=True) if one != other]
    assert changed
    assert all(checked(guest, changed))


def test_vip_leaves_when_haproxy_ends(guest: Guest) -> None:
    """keepalived of the unit hears from the kernel that haproxy ended, and gives the VIP away."""
    layout = Layout()
    part = document(version=3, advert_interval_ms=200, track_process=True)
    text = keepalived.config(decode(part), IDS[0], "eth1", layout)
    guest.shell.run(f"mkdir -p {layout.check_scripts_dir}")
    guest.shell.run(f"cat > {layout.keepalived_config}", stdin=text.encode())
    guest.shell.run(
        f"printf '#!/bin/sh\\nexit 0\\n' > {layout.check_script} && chmod 755 {layout.check_script}"
    )
    guest.shell.run("systemctl start octavia-keepalived")

    def has_vip() -> bool:
        return f" {VIP}/32 " in guest.shell.run(f"ip -n {NETNS} -4 address show dev eth1")

    assert not has_vip()
    # Nothing else matters here than what the program is called.
    haproxy = f"systemd-run --quiet --collect --unit=stand-in {layout.base}/haproxy 600"
    guest.shell.run(f"cp /usr/bin/sleep {layout.base}/haproxy && {haproxy}")
    waiting.until("the VIP", lambda: has_vip() or None, deadline_s=STEP_DEADLINE_S, every_s=0.5)
    guest.shell.run("systemctl reload octavia-keepalived && sleep 2")
    assert has_vip()
    guest.shell.run("systemctl kill --signal=KILL stand-in")
    waiting.until(
        "the VIP to go", lambda: not has_vip() or None, deadline_s=STEP_DEADLINE_S, every_s=0.5
    )
    assert "Quorum lost" in guest.shell.run("journalctl --no-pager --unit octavia-keepalived")
    guest.shell.run("systemctl stop octavia-keepalived")
