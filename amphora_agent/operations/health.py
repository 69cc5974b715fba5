# SPDX-License-Identifier: Apache-2.0
"""How each part of the amphora is, and why."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from amphora_agent import validate, x509
from amphora_agent.balancer import health as health_of
from amphora_agent.balancer.health import Health, Part, Verdict
from amphora_agent.errors import AgentError
from amphora_agent.layout import HEARTBEAT_UNIT, KEEPALIVED_UNIT, haproxy_unit, lvs_unit
from amphora_agent.operations import heartbeats, inventory, logs
from amphora_agent.operations.context import Context

# Configurations, journals and certificates need little; below this, something has gone wrong.
_DISK_WARNING_BYTES = 100 * 1024 * 1024
_DISK_FAILED_BYTES = 10 * 1024 * 1024
_SOON_DAYS = 14

_Judge = Callable[[], tuple[Verdict, str]]


def health(context: Context) -> Health:
    """All the parts that there are; one that cannot be asked is unknown, with the reason."""
    return health_of.health(
        _part(name, object_id, judge) for name, object_id, judge in _judges(context)
    )


def _part(name: str, object_id: str, judge: _Judge) -> Part:
    try:
        state, reason = judge()
    except (AgentError, OSError) as exc:
        state, reason = Verdict.UNKNOWN, str(exc)
    return Part(name=name, object=object_id, state=state, reason=reason)


def _judges(context: Context) -> Iterator[tuple[str, str, _Judge]]:
    settings = context.settings
    layout = settings.layout
    yield "certificate", "server", partial(_certificate, settings.agent_server_cert)
    yield "certificate", "client CA", partial(_certificate, settings.agent_server_ca)
    yield "namespace", context.netns, partial(_namespace, context)
    if layout.interfaces.is_dir():
        for path in sorted(layout.interfaces.glob("*.json")):
            yield "interface", path.stem, partial(_interface, context, path)
    for lb_id in inventory.haproxy_ids(context):
        yield "haproxy", lb_id, partial(_haproxy, context, lb_id)
        for path in sorted(layout.cert_dir(lb_id).glob("*.pem")):
            yield "certificate", f"{lb_id}/{path.stem}", partial(_certificate, path)
    for listener_id in inventory.lvs_ids(context):
        yield "lvs", listener_id, partial(_unit, context, lvs_unit(listener_id))
    if layout.keepalived_config.exists():
        yield "vrrp", "", partial(_unit, context, KEEPALIVED_UNIT)
    yield "heartbeat", "", partial(_heartbeat, context)
    yield "logs", "", _logs
    yield "disk", "", partial(_disk, context)


def _namespace(context: Context) -> tuple[Verdict, str]:
    if context.network.namespace_exists():
        return Verdict.OK, "it is there"
    return Verdict.FAILED, "it is missing; nothing can be served"


def _interface(context: Context, path: Path) -> tuple[Verdict, str]:
    wanted = validate.interface_file(path.read_bytes())
    if wanted.name not in context.network.names():
        return Verdict.FAILED, "it was plugged, and is not in the namespace"
    live = context.network.live(wanted.name)
    if not live.up:
        return Verdict.FAILED, "it is down"
    missing = {str(address.interface) for address in wanted.addresses if address.owned} - set(
        map(str, live.addresses)
    )
    if missing:
        return Verdict.FAILED, f"it lacks {', '.join(sorted(missing))}"
    return Verdict.OK, f"it is up, with {', '.join(map(str, live.addresses)) or 'no address'}"


def _haproxy(context: Context, lb_id: str) -> tuple[Verdict, str]:
    layout, unit = context.settings.layout, haproxy_unit(lb_id)
    if layout.haproxy_stopped(lb_id).exists():
        return Verdict.OK, "it was stopped on purpose"
    if not context.services.is_active(unit):
        return Verdict.FAILED, f"{unit} does not run; `journalctl -u {unit}` says why"
    try:
        info = context.haproxy.query(layout.stats_socket(lb_id), "show info")
    except AgentError as exc:
        return Verdict.FAILED, f"it runs, but does not answer: {exc}"
    facts = dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)
    return Verdict.OK, f"it answers; version {facts.get('Version')}, up {facts.get('Uptime')}"


def _certificate(path: Path) -> tuple[Verdict, str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "-----BEGIN" not in text:
        missing = [line for line in text.split("\n") if line and not Path(line.split()[0]).exists()]
        if missing:
            return Verdict.FAILED, f"it lists what is not there: {', '.join(missing)}"
        return Verdict.OK, "all that it lists is there"
    dates = x509.validity(text)
    if dates is None:
        return Verdict.OK, "it has no dates"
    now = datetime.now(UTC)
    if wrong := x509.warning(dates, now):
        return Verdict.WARNING, f"it is {wrong}"
    until = f"{dates.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if (dates.not_after - now).days < _SOON_DAYS:
        return Verdict.WARNING, f"it expires at {until}"
    return Verdict.OK, f"it is valid until {until}"


def _heartbeat(context: Context) -> tuple[Verdict, str]:
    settings = context.settings
    if not settings.controllers or settings.heartbeat_key is None:
        return Verdict.FAILED, "the configuration names no controllers or no key"
    verdict, reason = _unit(context, HEARTBEAT_UNIT)
    told = heartbeats.heartbeats()
    if verdict is Verdict.OK and told is not None and told.silence:
        return Verdict.WARNING, f"none left the last time: {told.silence}"
    return verdict, reason


def _logs() -> tuple[Verdict, str]:
    found = logs.offload()
    if found.is_set_aside:
        return Verdict.WARNING, f"they are not sent to the controller: {'; '.join(found.messages)}"
    return Verdict.OK, "they are sent as asked for" if found.state == "on" else "they stay here"


def _unit(context: Context, unit: str) -> tuple[Verdict, str]:
    if context.services.is_active(unit):
        return Verdict.OK, f"{unit} runs"
    return Verdict.FAILED, f"{unit} does not run; `journalctl -u {unit}` says why"


def _disk(context: Context) -> tuple[Verdict, str]:
    _used, available = context.host.disk()
    reason = f"{available // 2**20} MiB available on /"
    if available < _DISK_FAILED_BYTES:
        return Verdict.FAILED, reason
    return (Verdict.WARNING if available < _DISK_WARNING_BYTES else Verdict.OK), reason
