# SPDX-License-Identifier: Apache-2.0
"""Names and paths that controllers and rendered configurations rely on.

The one place where they are spelled. Sources: the configuration that Octavia renders (stats
socket, state file, certificates, check scripts) and the files that it injects at boot.
"""

import re
from dataclasses import dataclass
from pathlib import Path

NETNS = "amphora-haproxy"
VIP_INTERFACE = "eth1"
POLICY_TABLE = 1

AGENT_CONFIG = Path("/etc/octavia/amphora-agent.conf")
BASE_PATH = Path("/var/lib/octavia")
BASE_CERT_DIR = BASE_PATH / "certs"
INTERFACES_DIR = Path("/etc/octavia/interfaces")
AGENT_SERVER_CERT = Path("/etc/octavia/certs/server.pem")
AGENT_SERVER_CA = Path("/etc/octavia/certs/client_ca.pem")

# Written by the controller, and what rsyslog reads in its place.
LOG_OFFLOAD_SOURCE = Path("/etc/rsyslog.d/10-rsyslog.conf")
RUN_DIR = Path("/run/amphora")
LOG_OFFLOAD = RUN_DIR / "log-offload.conf"
LOG_OFFLOAD_STATE = RUN_DIR / "log-offload.json"
LOG_ENVIRONMENT = RUN_DIR / "log.env"

# Written by the heartbeat sender after each heartbeat, into its runtime directory.
HEARTBEAT_STATUS = Path("/run/amphora-heartbeat/status.json")

# sun_path holds 108 bytes; haproxy appends a suffix of its own while it binds, which leaves 97.
UNIX_SOCKET_PATH_MAX = 97
_LB_ID_LENGTH = 36

_OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_object_id(name: str) -> bool:
    """Whether a name is an id of the controller: a UUID in lower case, as paths have it."""
    return _OBJECT_ID.fullmatch(name) is not None


# Makes the namespace; everything that runs in it requires this unit.
NETNS_UNIT = "amphora-netns.service"


def haproxy_unit(lb_id: str) -> str:
    """The systemd unit that runs haproxy for one load balancer."""
    return f"haproxy@{lb_id}.service"


def dhcp_unit(interface: str) -> str:
    """The systemd unit that runs a DHCP client on an interface of the namespace."""
    return f"amphora-dhcp@{interface}.service"


# Sends heartbeats to the controllers.
HEARTBEAT_UNIT = "amphora-heartbeat.service"

AGENT_UNIT = "amphora-agent.service"

# Runs VRRP for the amphora of a pair.
KEEPALIVED_UNIT = "octavia-keepalived.service"


def lvs_unit(listener_id: str) -> str:
    """The systemd unit that runs keepalived for one UDP or SCTP listener."""
    return f"octavia-keepalivedlvs@{listener_id}.service"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Every path below the configurable directories.

    Attributes:
        base: `[haproxy_amphora] base_path`.
        certs: `[haproxy_amphora] base_cert_dir`.
        interfaces: `[amphora_agent] agent_server_network_dir`.
        netns: name of the namespace in which everything runs.
    """

    base: Path = BASE_PATH
    certs: Path = BASE_CERT_DIR
    interfaces: Path = INTERFACES_DIR
    netns: str = NETNS

    @property
    def longest_socket_path(self) -> int:
        """Length in bytes of the longest path of a socket of any load balancer."""
        return len(str(self.master_socket("x" * _LB_ID_LENGTH)).encode())

    @property
    def user_group(self) -> Path:
        """The second haproxy configuration file, which supplies the distribution's group."""
        return self.base / "haproxy-default-user-group.conf"

    @property
    def ping_wrapper(self) -> Path:
        """What haproxy runs for health monitors of type PING; shipped by the image."""
        return self.base / "ping-wrapper.sh"

    @property
    def plugged_interfaces(self) -> Path:
        """Lines of `<mac> <interface>`: which NIC bears which name in the namespace."""
        return self.base / "plugged_interfaces"

    @property
    def stats_counters(self) -> Path:
        """Last absolute counters of every listener, kept by the heartbeat sender."""
        return self.base / "stats_counters.json"

    @property
    def keepalived_config(self) -> Path:
        """The VRRP configuration; its existence arms the heartbeat gate."""
        return self.base / "vrrp" / "octavia-keepalived.conf"

    @property
    def keepalived_pid(self) -> Path:
        """Process id of the VRRP keepalived."""
        return self.base / "vrrp" / "octavia-keepalived.pid"

    @property
    def check_script(self) -> Path:
        """What keepalived runs to know whether this amphora may hold the VIP."""
        return self.base / "vrrp" / "check_script.sh"

    @property
    def check_scripts_dir(self) -> Path:
        """The scripts that `check_script` runs."""
        return self.base / "vrrp" / "check_scripts"

    @property
    def haproxy_check_script(self) -> Path:
        """Asks the haproxy of every load balancer that is to run."""
        return self.check_scripts_dir / "haproxy_check_script.sh"

    @property
    def lvs_check_script(self) -> Path:
        """Looks after the keepalived of every UDP and SCTP listener."""
        return self.check_scripts_dir / "lvs_udp_check.sh"

    @property
    def vip_rules(self) -> Path:
        """What may come in through the VIP's NIC where Neutron has no firewall (SR-IOV)."""
        return self.base / "nftables-vip.rules"

    @property
    def vip_rules_new(self) -> Path:
        """The same before it has taken effect."""
        return self.base / "nftables-vip.rules.new"

    @property
    def lvs_dir(self) -> Path:
        """Configurations and process ids of UDP and SCTP listeners."""
        return self.base / "lvs"

    @property
    def udp_check(self) -> Path:
        """keepalived's check of UDP-CONNECT health monitors."""
        return self.lvs_dir / "check" / "udp_check.sh"

    def lvs_config(self, listener_id: str) -> Path:
        """The configuration of one UDP or SCTP listener."""
        return self.lvs_dir / f"octavia-keepalivedlvs-{listener_id}.conf"

    def lvs_pids(self, listener_id: str) -> tuple[Path, Path, Path]:
        """Process ids of a listener's keepalived: the parent's, of VRRP, of the health checks."""
        stem = f"octavia-keepalivedlvs-{listener_id}"
        return (
            self.lvs_dir / f"{stem}.pid",
            self.lvs_dir / f"{stem}.vrrp.pid",
            self.lvs_dir / f"{stem}.check.pid",
        )

    def lb_dir(self, lb_id: str) -> Path:
        """Directory of one load balancer."""
        return self.base / lb_id

    def haproxy_config(self, lb_id: str) -> Path:
        """The configuration that haproxy runs or will start with."""
        return self.lb_dir(lb_id) / "haproxy.cfg"

    def haproxy_environment(self, lb_id: str) -> Path:
        """Variables of the haproxy unit of one load balancer."""
        return self.lb_dir(lb_id) / "haproxy.env"

    def haproxy_stopped(self, lb_id: str) -> Path:
        """Exists from a controller's stop to the next start: nobody has to answer meanwhile."""
        return self.lb_dir(lb_id) / "stopped"

    def haproxy_pid(self, lb_id: str) -> Path:
        """Process id of the haproxy master."""
        return self.lb_dir(lb_id) / f"{lb_id}.pid"

    def server_state(self, lb_id: str) -> Path:
        """State of haproxy's servers, saved before a reload."""
        return self.lb_dir(lb_id) / "servers-state"

    def haproxy_running(self, lb_id: str) -> Path:
        """What the worker that is named in it was loaded with, or brought to by commands."""
        return self.lb_dir(lb_id) / "running.json"

    def stats_socket(self, lb_id: str) -> Path:
        """haproxy's stats socket; the path stands in the configuration that Octavia renders."""
        return self.base / f"{lb_id}.sock"

    def master_socket(self, lb_id: str) -> Path:
        """The socket on which haproxy's master takes commands."""
        return self.lb_dir(lb_id) / "master.sock"

    def cert_dir(self, lb_id: str) -> Path:
        """Certificates of one load balancer."""
        return self.certs / lb_id

    def kept_certificate(self, lb_id: str, sha256: str) -> Path:
        """A certificate of one of the last revisions of a load balancer, by its content."""
        return self.cert_dir(lb_id) / "kept" / f"{sha256}.pem"

    def revisions_dir(self, lb_id: str) -> Path:
        """What API 2.0 made of a load balancer, one file for each time."""
        return self.base / "revisions" / lb_id

    def revision(self, lb_id: str, number: int) -> Path:
        """One revision of a load balancer."""
        return self.revisions_dir(lb_id) / f"{number}.json"

    @property
    def transactions_dir(self) -> Path:
        """Changes of load balancers that are under way, a directory for each."""
        return self.base / "transactions"

    def transaction_dir(self, lb_id: str) -> Path:
        """What a change under way needs to be undone, but for secrets."""
        return self.transactions_dir / lb_id

    def journal(self, lb_id: str) -> Path:
        """Tells of a change under way how to undo it."""
        return self.transaction_dir(lb_id) / "journal.json"

    @property
    def secrets_transactions_dir(self) -> Path:
        """The same of secrets: on the file system of certificates, which is RAM."""
        return self.certs / "transactions"

    def secrets_transaction_dir(self, lb_id: str) -> Path:
        """The secrets of a change under way."""
        return self.secrets_transactions_dir / lb_id

    def interface_file(self, name: str) -> Path:
        """Desired state of one interface of the namespace."""
        return self.interfaces / f"{name}.json"
