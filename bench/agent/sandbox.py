# SPDX-License-Identifier: Apache-2.0
"""What both agents take for an amphora: private mounts, an empty network, stand-ins for programs.

Only to be called in a mount and network namespace of its own (`unshare --mount --net`), where it
hides directories of the machine. Nothing of it is left when the last process in there has ended.

Stand-ins: `systemctl` and `journalctl` do nothing and succeed; a socket takes what is sent to
syslog and throws it away; dpkg's database says that the programs of an amphora are installed. All
else is real: haproxy, dpkg-query, the disk below /var/lib/octavia, mutual TLS.
"""

import shutil
import socket
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.support import pki

BASE = Path("/var/lib/octavia")
FILES = Path("/run/amphora")
NETNS = "amphora-haproxy"
PORT = 9443
_SYSLOG = Path("/run/rsyslog/octavia/log")
_UNITS = Path("/usr/lib/systemd/system")
_DPKG = Path("/var/lib/dpkg")
_PACKAGES = ("haproxy", "keepalived", "ipvsadm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """Where an agent finds its files.

    Attributes:
        stand_ins: to be the first directory of PATH.
        trust: chain that the agent's certificate leads to.
        identity: key and certificate of a controller.
    """

    amphora_id: str
    config_file: Path
    stand_ins: Path
    trust: Path
    identity: Path


def prepare(disk: Path) -> Sandbox:
    """Make this namespace look like an amphora.

    Args:
        disk: an empty directory on a real disk, for what the agents store.
    """
    status = _dpkg_status()
    for directory in (Path("/run"), Path("/var/log"), Path("/var/lib"), _UNITS):
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(directory))
    _DPKG.mkdir()
    (_DPKG / "status").write_text(status)
    BASE.mkdir()
    # Not the tmpfs: whoever synchronises what it writes is to pay for it.
    _run("mount", "--bind", str(disk), str(BASE))
    (BASE / "haproxy-default-user-group.conf").write_text("global\n    group nogroup\n")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "netns", "add", NETNS)
    _take_syslog()
    return _files()


def _files() -> Sandbox:
    FILES.mkdir()
    authorities = pki.create(FILES)
    amphora_id = uuid.uuid4()
    server_pem = FILES / "server.pem"
    server_pem.write_bytes(authorities.amphora_pem(amphora_id))
    config = FILES / "amphora-agent.conf"
    config.write_text(
        f"""
[DEFAULT]
debug = False
use_syslog = True
syslog_log_facility = LOG_LOCAL1

[haproxy_amphora]
base_cert_dir = {BASE}/certs
base_path = {BASE}
bind_host = ::
bind_port = {PORT}
haproxy_cmd = /usr/sbin/haproxy

[health_manager]
controller_ip_port_list = 127.0.0.1:5555
heartbeat_interval = 10
heartbeat_key = key-of-the-benchmark

[amphora_agent]
agent_server_ca = {authorities.client_chain}
agent_server_cert = {server_pem}
agent_server_network_dir = {FILES}/interfaces
agent_request_read_timeout = 180
amphora_id = {amphora_id}
amphora_udp_driver = keepalived_lvs
agent_tls_protocol = TLSv1.2

[controller_worker]
loadbalancer_topology = SINGLE
"""
    )
    (FILES / "interfaces").mkdir()
    stand_ins = FILES / "bin"
    stand_ins.mkdir()
    for name in ("systemctl", "journalctl"):
        program = stand_ins / name
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)
    return Sandbox(
        amphora_id=str(amphora_id),
        config_file=config,
        stand_ins=stand_ins,
        trust=authorities.server_chain,
        identity=authorities.controller,
    )


def _dpkg_status() -> str:
    """The machine's packages, and those of an amphora that it lacks."""
    if shutil.which("dpkg-query") is None:
        raise SystemExit("Upstream's agent asks dpkg-query: run this on Debian or Ubuntu")
    status = (_DPKG / "status").read_text()
    for name in _PACKAGES:
        if f"\nPackage: {name}\nStatus: install ok installed\n" not in f"\n{status}":
            status += (
                f"\nPackage: {name}\nStatus: install ok installed\nArchitecture: all\n"
                "Maintainer: nobody\nVersion: 1.0-1\nDescription: stand-in\n"
            )
    return status


def _take_syslog() -> None:
    """Let whoever logs to syslog succeed, and forget it."""
    _SYSLOG.parent.mkdir(parents=True)
    taker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    taker.bind(str(_SYSLOG))

    def take() -> None:
        while True:
            taker.recv(65536)

    threading.Thread(target=take, daemon=True).start()


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
