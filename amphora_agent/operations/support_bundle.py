# SPDX-License-Identifier: Apache-2.0
"""What an operator needs to see what is wrong, in one file and without secrets."""

import io
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from amphora_agent.balancer import redact, revision
from amphora_agent.errors import AgentError
from amphora_agent.operations import details, health, inventory, revisions
from amphora_agent.operations.context import Context

# Much larger ones are no texts of this amphora, and the whole is made in memory.
_MEMBER_MAX_BYTES = 4 * 1024 * 1024
_COMMANDS = {"info": "show info", "stat": "show stat", "servers-state": "show servers state"}


def bundle(context: Context) -> bytes:
    """A tar.gz of texts; what cannot be had is a text that says why."""
    import gzip  # noqa: PLC0415  # large, and seldom needed
    import tarfile  # noqa: PLC0415

    secrets = _secrets(context)
    now = time.time()
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=now) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for name, text in _texts(context):
            content = redact.text(text, secrets).encode()
            if len(content) > _MEMBER_MAX_BYTES:
                # The end of a journal tells more than its beginning.
                content = b"(the beginning is left out)\n" + content[-_MEMBER_MAX_BYTES:]
            member = tarfile.TarInfo(f"amphora/{name}.txt")
            member.size, member.mtime, member.mode = len(content), now, 0o600
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _texts(context: Context) -> Iterator[tuple[str, str]]:
    yield "health", _try(lambda: _json(revision.encode(health.health(context))))
    yield "details", _try(lambda: _json(msgspec.json.encode(details.details(context))))
    yield "agent/amphora-agent.conf", _file(context.store.path)
    yield from _configurations(context)
    yield from _haproxy(context)
    for lb_id in revisions.lb_ids(context):
        yield f"loadbalancers/{lb_id}/current", _try(partial(_current, context, lb_id))
        yield f"loadbalancers/{lb_id}/revisions", _try(partial(_history, context, lb_id))
    yield from context.evidence.texts()


def _configurations(context: Context) -> Iterator[tuple[str, str]]:
    layout = context.settings.layout
    for lb_id in inventory.haproxy_ids(context):
        yield f"haproxy/{lb_id}/haproxy.cfg", _file(layout.haproxy_config(lb_id))
        names = sorted(path.name for path in layout.cert_dir(lb_id).glob("*.pem"))
        yield f"haproxy/{lb_id}/certificates", "".join(f"{name}\n" for name in names)
    for listener_id in inventory.lvs_ids(context):
        path = layout.lvs_config(listener_id)
        yield f"lvs/{path.name}", _file(path)
    if layout.keepalived_config.exists():
        yield f"vrrp/{layout.keepalived_config.name}", _file(layout.keepalived_config)
    for path in (layout.vip_rules, layout.plugged_interfaces, *layout.interfaces.glob("*.json")):
        if path.exists():
            yield f"network/{path.name}", _file(path)


def _haproxy(context: Context) -> Iterator[tuple[str, str]]:
    for lb_id in inventory.haproxy_ids(context):
        socket = context.settings.layout.stats_socket(lb_id)
        for name, command in _COMMANDS.items():
            ask = partial(context.haproxy.query, socket, command)
            yield f"haproxy/{lb_id}/{name}", _try(ask)


def _current(context: Context, lb_id: str) -> str:
    return _json(revision.encode(revisions.get(context, lb_id)))


def _history(context: Context, lb_id: str) -> str:
    return _json(revision.encode(revisions.history(context, lb_id)))


def _secrets(context: Context) -> set[str]:
    """Values that no text may have, wherever they stand."""
    found = {context.settings.heartbeat_key or ""}
    for lb_id in revisions.lb_ids(context):
        for number in revisions.numbers(context, lb_id):
            try:
                group = revisions.read(context, lb_id, number).document.vrrp
            except AgentError:
                continue
            found.add((group and group.authentication) or "")
    try:
        text = context.settings.layout.keepalived_config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    words = [line.split() for line in text.splitlines()]
    found |= {line[1].strip('"') for line in words if len(line) > 1 and line[0] == "auth_pass"}
    return found - {""}


def _file(path: Path) -> str:
    return _try(lambda: path.read_text(encoding="utf-8", errors="replace"))


def _try(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (AgentError, OSError) as exc:
        return f"(not to be had: {exc})\n"


def _json(content: bytes) -> str:
    return msgspec.json.format(content, indent=1).decode() + "\n"
