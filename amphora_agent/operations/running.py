# SPDX-License-Identifier: Apache-2.0
"""What the worker of a haproxy runs, as far as that is known for certain.

A file beside haproxy.cfg says what a worker was loaded with or brought to, and which one. It goes
before a worker is changed and comes when the change has been seen in the worker. So an agent that
dies in between leaves none, and then nothing is known, as with a worker that somebody else started.
"""

import hashlib
import logging
from pathlib import Path

import msgspec

from amphora_agent import haproxycfg, haproxyfiles, parse, showstat
from amphora_agent.errors import AgentError, ParseError
from amphora_agent.haproxyfiles import File, Loaded
from amphora_agent.operations.context import Context
from amphora_agent.showstat import Worker
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

# As large as a body of the API; what else may stand in a configuration is not read.
_FILE_MAX_BYTES = 16 * 1024 * 1024


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    pid: int
    started_s: int
    config: str
    lists: dict[str, str]
    files: dict[str, tuple[str, int]]


def worker(
    context: Context, lb_id: str, *, wait: bool = True
) -> tuple[Worker, tuple[int, int]] | None:
    """The worker that takes new connections and its version, if it answers.

    Args:
        wait: see `Haproxy.current`.
    """
    master = context.settings.layout.master_socket(lb_id)
    try:
        info = context.haproxy.current(master, wait=wait)
        major, minor = parse.program_version(info).split(".")[:2]
        return showstat.parse_info(info), (int(major), int(minor.partition("-")[0]))
    except (AgentError, ValueError):
        return None


def known(context: Context, lb_id: str, worker: Worker) -> Loaded | None:
    """What a worker runs; None if that is not known."""
    try:
        content = context.settings.layout.haproxy_running(lb_id).read_bytes()
        record = msgspec.json.decode(content, type=_Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as exc:
        LOG.warning("What the haproxy of %s runs cannot be read: %s", lb_id, exc)
        return None
    if Worker(pid=record.pid, started_s=record.started_s) != worker:
        return None
    return Loaded(
        config=record.config,
        lists=record.lists,
        files={
            path: File(digest=digest, size_bytes=size)
            for path, (digest, size) in record.files.items()
        },
    )


def forget(context: Context, lb_id: str) -> None:
    """Before a worker is changed: what it runs is not known from now on."""
    files.remove(context.settings.layout.haproxy_running(lb_id))


def remember(context: Context, lb_id: str, worker: Worker, loaded: Loaded) -> None:
    """After a worker was loaded or changed. Without room for it, the next change is a reload."""
    record = _Record(
        pid=worker.pid,
        started_s=worker.started_s,
        config=loaded.config,
        lists=dict(loaded.lists),
        files={path: (file.digest, file.size_bytes) for path, file in loaded.files.items()},
    )
    content = msgspec.json.encode(record)
    try:
        files.write_atomic(context.settings.layout.haproxy_running(lb_id), content, mode=0o600)
    except OSError as exc:
        LOG.warning("What the haproxy of %s runs is not kept: %s", lb_id, exc)


def stored(context: Context, lb_id: str) -> Loaded:
    """What a worker that is loaded now makes itself of.

    Files that cannot be read are left out.
    """
    config = context.settings.layout.haproxy_config(lb_id).read_text(encoding="utf-8")
    try:
        sections = haproxycfg.sections(haproxyfiles.lines_with_files(config))
    except ParseError:
        return Loaded(config=config, lists={}, files={})
    lists = {
        path: content.decode(errors="replace")
        for path in haproxyfiles.list_paths(sections)
        if (content := _content(path)) is not None
    }
    paths = {slot.path for slot in haproxyfiles.slots(sections, lists)}
    contents = {path: content for path in paths if (content := _content(path)) is not None}
    return Loaded(
        config=config,
        lists=lists,
        files={
            path: File(digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
            for path, content in contents.items()
        },
    )


def _content(path: str) -> bytes | None:
    file = Path(path)
    try:
        if file.is_absolute() and file.is_file() and file.stat().st_size <= _FILE_MAX_BYTES:
            return file.read_bytes()
    except OSError:
        pass
    return None
