# SPDX-License-Identifier: Apache-2.0
"""octavia.conf by itself: what is missing in it, and what does not mean what it seems to."""

import re
from collections.abc import Iterator, Mapping, Sequence

from amphora_controller.certificates.check import Finding, Severity
from amphora_controller.doctor.conf_file import ConfFile
from amphora_controller.doctor.findings import Note, failed, ok
from amphora_controller.doctor.options import Endpoint, Options, endpoint

# Fernet keys are 32 bytes of URL-safe base64.
_STORAGE_KEY = re.compile(r"[0-9A-Za-z_=-]{32}")

# In values of these nobody means the name of another option.
_LITERAL = re.compile(r"password|passphrase|heartbeat_key|^connection$|^transport_url$")

_REQUIRED = (
    ("health_manager", "bind_ip", "this controller's address on the management network"),
    ("health_manager", "heartbeat_key", "the same on every controller"),
    ("health_manager", "controller_ip_port_list", "ADDRESS:5555 of every health manager"),
    ("controller_worker", "amp_boot_network_list", "the management network's id"),
    ("controller_worker", "amp_secgroup_list", "the id of amphorae's security group"),
    ("controller_worker", "amp_flavor_id", "the flavor's id"),
    ("controller_worker", "amp_image_tag", "usually amphora"),
)

_URL = re.compile(r"(?P<scheme>[\w+]+)://(?:(?P<account>[^@]*)@)?(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?")

# As many heartbeats may be lost before an amphora is replaced.
_INTERVALS_MIN = 3


def settings(conf: ConfFile) -> Iterator[Note]:
    """What is not set, or is taken for something else than it seems."""
    faults = [
        *_missing(conf),
        *_references(conf),
        *_storage_keys(conf),
        *_rsyslog(conf),
        *_urls(conf),
    ]
    yield from faults
    if not faults:
        yield ok("everything that amphorae depend on is set")


def _missing(conf: ConfFile) -> Iterator[Note]:
    for section, key, meaning in _REQUIRED:
        if conf.text(section, key) or conf.is_unresolved(section, key):
            continue
        elsewhere = [f"[{other}]" for other in conf.sections_of(key) if other != section]
        where = f"; it stands in {', '.join(elsewhere)}" if elsewhere else ""
        yield failed(f"[{section}] {key} is not set{where}", f"set it: {meaning}")


def _references(conf: ConfFile) -> Iterator[Note]:
    for section, key in conf.places():
        # The name itself is part of a secret.
        if _LITERAL.search(key) and conf.is_unresolved(section, key):
            yield failed(
                f"[{section}] {key} holds a `$`, which oslo.config takes for the name of an option",
                "write `$$` for each `$` of the value itself",
            )


def _storage_keys(conf: ConfFile) -> Iterator[Note]:
    for index, key in enumerate(conf.items("certificates", "server_certs_key_passphrase")):
        if not _STORAGE_KEY.fullmatch(key):
            yield failed(
                f"[certificates] server_certs_key_passphrase: entry {index + 1} has {len(key)} "
                "characters or others than URL-safe base64",
                "exactly 32 letters, digits, `_` and `-`: Octavia's services do not start",
            )


def _rsyslog(conf: ConfFile) -> Iterator[Note]:
    if (
        conf.items("amphora_agent", "admin_log_targets")
        and conf.flag("amphora_agent", "disable_local_log_storage")
        and not conf.flag("amphora_agent", "forward_all_logs")
    ):
        yield failed(
            "[amphora_agent] admin_log_targets with disable_local_log_storage and without "
            "forward_all_logs: Octavia renders a configuration that rsyslog refuses",
            "set forward_all_logs = True, or keep logs in amphorae too",
        )


def _urls(conf: ConfFile) -> Iterator[Note]:
    """The addresses of the database and the message queue; no part of a password is ever said."""
    for section, key, fault in (
        ("database", "connection", _database_fault),
        ("DEFAULT", "transport_url", _transport_fault),
    ):
        text = conf.text(section, key)
        if conf.is_unresolved(section, key):
            continue
        if text is None:
            yield failed(f"[{section}] {key} is not set", "Octavia cannot work without")
        elif said := fault(text):
            yield failed(
                f"[{section}] {key}: {said}",
                "in user and password write %40 for @, %2F for /, %3A for :, %23 for #, %3F for ?, "
                "%25 for %, %2C for a comma",
            )


def _database_fault(url: str) -> str | None:
    """What SQLAlchemy, which cuts at the first `@`, would not understand."""
    match = _URL.fullmatch(url)
    if match is None:
        return "it is not DIALECT://USER:PASSWORD@HOST/NAME"
    if match["scheme"].startswith("sqlite"):
        return None
    where, slash, name = match["rest"].partition("?")[0].partition("/")
    if "@" in where or "@" in name:
        return "the password holds an @ that is not escaped, and what follows is taken for the host"
    if not _HOST.fullmatch(where):
        return "what stands for the host is none"
    return None if slash and name else "it names no database"


def _transport_fault(url: str) -> str | None:
    """What oslo.messaging, which cuts at the first `/`, would not understand."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "it is not rabbit://USER:PASSWORD@HOST:PORT/"
    if scheme in ("fake", "kafka"):
        return None
    hosts = re.split(r"[/?#]", rest, maxsplit=1)[0].split(",")
    for number, entry in enumerate(hosts, start=1):
        account, _, host = entry.rpartition("@")
        if "@" in account:
            return f"host {number}: the password holds an @ that is not escaped"
        if not _HOST.fullmatch(host):
            return f"host {number} cannot be read: the password may hold a character to be escaped"
    return None


def controllers(options: Options, site: Sequence[Endpoint]) -> Iterator[Note]:
    """The list of health managers that amphorae get.

    Args:
        site: those of the site's file; empty without one.
    """
    faults = [*_entries(options), *_of_bind(options)]
    named = options.endpoints
    for item in sorted(set(site) - set(named)):
        faults.append(
            failed(
                f"controller_ip_port_list does not name {item}, a controller of the site",
                "amphorae never tell it anything: add it on every controller",
            )
        )
    for item in sorted(set(named) - set(site)) if site else ():
        faults.append(
            failed(
                f"controller_ip_port_list names {item}, which is no controller of the site",
                "heartbeats to it are lost: take it out",
            )
        )
    yield from faults
    if not faults:
        yield ok(f"{len(named)} named: {', '.join(map(str, named))}")


def _entries(options: Options) -> Iterator[Note]:
    for entry in options.controllers:
        found = endpoint(entry)
        if found is None:
            yield failed(
                f"controller_ip_port_list: {entry!r} is not ADDRESS:PORT",
                "an IPv6 address stands in brackets; amphorae of Octavia's own image know no names",
            )
        elif found.address.is_loopback or found.address.is_unspecified:
            yield failed(
                f"controller_ip_port_list: {entry} leads every amphora to itself",
                "it must be the controller's address on the management network",
            )


def _of_bind(options: Options) -> Iterator[Note]:
    bind = options.bind
    if bind.address.is_loopback:
        yield failed(
            f"[health_manager] bind_ip is {bind.address}: no amphora can reach that",
            "set it to this controller's address on the management network",
        )
    elif not bind.address.is_unspecified and bind not in options.endpoints:
        ports = [str(item.port) for item in options.endpoints if item.address == bind.address]
        if ports:
            yield failed(
                f"controller_ip_port_list has port {', '.join(ports)} for this controller, whose "
                f"bind_port is {bind.port}",
                "make them the same",
            )
        else:
            yield failed(
                f"controller_ip_port_list does not name this controller ({bind})",
                "add it on every controller; if no health manager is to run here, run this where "
                "one does",
            )
    if options.timeout_s < _INTERVALS_MIN * options.interval_s:
        yield failed(
            f"heartbeat_timeout is {options.timeout_s} s at an interval of {options.interval_s} s",
            "three intervals at least, or every lost heartbeat makes a failover",
        )


def certificates(found: Sequence[Finding]) -> Iterator[Note]:
    """What `amphoractl certs check` finds in the files that octavia.conf names."""
    bad = [item for item in found if item.severity is Severity.CRITICAL]
    for item in bad:
        yield failed(
            f"{item.subject}: {item.message}", "docs/certificates.md; amphoractl certs check"
        )
    if not bad:
        days = min((item.days_left for item in found if item.days_left is not None), default=0)
        soon = [f"; {item.message}" for item in found if item.severity is Severity.WARNING]
        yield ok(f"keys match, chains are complete, valid for {days} days{''.join(soon)}")


def site_differences(
    conf: ConfFile, rendered: Mapping[str, Mapping[str, str]], source: str
) -> Iterator[Note]:
    """Options that are not as the site says; values are never said.

    Args:
        rendered: what the site sets, with plain values; an empty one is left to Octavia.
        source: of the site, for messages.
    """
    different = [
        f"[{section}] {key}"
        for section, options in rendered.items()
        for key, value in options.items()
        if value and not _is_same(conf.text(section, key), value)
    ]
    if different:
        yield failed(
            f"not as {source} says: {', '.join(different)}",
            f"amphoractl config --site {source} --dry-run shows it, and without --dry-run mends it",
        )
    else:
        yield ok(f"octavia.conf is as {source} says")


def _is_same(found: str | None, wanted: str) -> bool:
    if found is None:
        return False
    return found == wanted or re.split(r"\s*,\s*", found) == re.split(r"\s*,\s*", wanted)
