# SPDX-License-Identifier: Apache-2.0
"""How a running haproxy comes to a new configuration: by commands, if that can be, or by a reload.

Sources: HAProxy management guide 2.6 and 3.0, "Unix Socket commands"; tried with 2.6.12.

A file whose path changes but which stands in the same place keeps the name that the worker knows
it by, and gets the new content: so a renewed certificate, which Octavia sends under a new name,
needs no reload. `Commands.result` has the worker's names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from amphora_agent import haproxycfg, haproxyfiles, haproxyservers
from amphora_agent.errors import ParseError
from amphora_agent.haproxycfg import Directive, Section
from amphora_agent.haproxyfiles import File, Kind, Loaded, Slot
from amphora_agent.haproxyservers import Key, Server

# haproxy takes a command and what it carries into one buffer of tune.bufsize bytes, 16384 unless
# set, of which it keeps some for itself; beyond that it does not even answer.
PAYLOAD_MAX_BYTES = 15_000

# Servers come and go without the experimental mode from here on.
_ADD_SERVER_SINCE = (2, 6)
_DYNAMIC_BALANCE = frozenset({"roundrobin", "leastconn"})
# A backend with one of these has to do with its servers in ways that were not tried.
_NO_ADD = frozenset({"cookie", "dynamic-cookie-key", "hash-type", "stick-table", "use-server"})
_NO_ADD_PREFIXES = ("stick", "external-check")
_ADDED_WITH = frozenset(
    {
        *("check", "inter", "fastinter", "downinter", "fall", "rise", "addr", "port", "backup"),
        *("maxconn", "maxqueue", "send-proxy", "send-proxy-v2", "slowstart"),
    }
)
# Sizes that a controller computes anew at each change from the memory that is free at that moment.
# A worker goes on with the one that it has.
_DEFERRED = {"global": frozenset({"tune.ssl.cachesize"})}
# A line of a server without quotes, escapes and comments, of a length that haproxy takes.
_SERVER_LINE = re.compile(r"[ \t]*server(?: [A-Za-z0-9_.:/|=\[\]-]+){2,60}", re.ASCII)
_WEIGHT_MAX = 256
# What needs no escape in a command.
_PLAIN = re.compile(r"[A-Za-z0-9_.:,/@%+=\[\]-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command.

    Attributes:
        text: of the command.
        said: stands in the answer if it was done; empty if the answer is empty then.
        payload: path of the file whose lines the command carries.
        patient: it is refused for as long as connections last.
    """

    text: str
    said: str = ""
    payload: str = ""
    patient: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A file that the worker has afterwards.

    Attributes:
        name: what the worker calls it.
        source: path of the file with the content.
    """

    kind: Kind
    name: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Commands:
    """What brings the worker there; without steps it is there already.

    Attributes:
        changes: how many servers and files are concerned.
        result: what the worker is then as if loaded with.
        files: those that were changed.
        servers: all that it has then.
    """

    steps: tuple[Step, ...]
    changes: int
    result: Loaded
    files: tuple[Held, ...]
    servers: Mapping[Key, Server | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """Only a reload brings the worker there, and why."""

    reason: str


def plan(running: Loaded, new: Loaded, version: tuple[int, int]) -> Commands | Reload:
    """How a worker comes from one configuration to another.

    Args:
        running: what it was loaded with or brought to.
        new: what is to be.
        version: of haproxy.
    """
    try:
        return _Planner(running, new, version).plan()
    except _NeedsReloadError as exc:
        return Reload(reason=str(exc))
    except ParseError as exc:
        return Reload(reason=f"the configuration cannot be read: {exc}")


def needs_no_check(checked: str, new: str) -> bool:
    """Whether haproxy takes a configuration as surely as one that it has taken.

    It does where lines differ in weights and admin states of servers only; letter by letter, since
    haproxy may mind what means nothing, for example a missing end of the last line.
    """
    old_lines, new_lines = checked.split("\n"), new.split("\n")
    return len(old_lines) == len(new_lines) and all(
        old == new or _only_weight_differs(old, new)
        for old, new in zip(old_lines, new_lines, strict=True)
    )


def _only_weight_differs(old: str, new: str) -> bool:
    if not (_SERVER_LINE.fullmatch(old) and _SERVER_LINE.fullmatch(new)):
        return False
    was, now = (
        haproxyservers.parse_line(Directive(words=tuple(line.split()))) for line in (old, new)
    )
    return (
        was is not None
        and now is not None
        and now.weight <= _WEIGHT_MAX
        and replace(now, weight=was.weight, disabled=was.disabled) == was
    )


class _NeedsReloadError(Exception):
    """The message says why."""


class _Planner:
    """Collects steps and what the worker is after them."""

    def __init__(self, running: Loaded, new: Loaded, version: tuple[int, int]) -> None:
        self._running = running
        self._new = new
        self._version = version
        # Name in the worker: what it shall hold.
        self._wanted: dict[str, Held] = {}
        self._steps: list[tuple[int, Step]] = []
        self._servers: set[Key] = set()
        self._lists: dict[str, str] = {}

    def plan(self) -> Commands:
        """See the function."""
        memo: haproxycfg.Memo = {}
        old = haproxycfg.sections(self._running.config, memo)
        new = haproxycfg.sections(self._new.config, memo)
        # What the one before has of it and this one has not is a difference that reloads.
        if fault := haproxyfiles.opaque(new):
            raise _NeedsReloadError(fault)
        if [part.head for part in old] != [part.head for part in new]:
            raise _NeedsReloadError(_section_fault(old, new))
        default_server = any(_has(part, {"default-server"}) for part in new)
        result = [
            self._section(before, after, default_server=default_server)
            for before, after in zip(old, new, strict=True)
        ]
        changed = [held for held in self._wanted.values() if self._is_changed(held)]
        for held in changed:
            self._set_file(held)
        files = {name: self._file(held.source) for name, held in self._wanted.items()}
        renamed = any(held.name != held.source for held in self._wanted.values())
        config = haproxyfiles.write(result) if renamed else self._new.config
        return Commands(
            steps=tuple(step for _rank, step in sorted(self._steps, key=lambda item: item[0])),
            changes=len(changed) + len(self._servers),
            result=Loaded(config=config, lists=self._lists, files=files),
            files=tuple(changed),
            servers=haproxyservers.configured(result),
        )

    def _section(self, old: Section, new: Section, *, default_server: bool) -> Section:
        """Compare two; the new one, with the worker's names."""
        if len(old.body) == len(new.body) and all(map(_is_untouched, old.body, new.body)):
            return new
        was, now = _rest(old), _rest(new)
        if [line.name for line in was] != [line.name for line in now]:
            raise _NeedsReloadError(f"{_title(new)} has other directives")
        body = [self._line(before, after, new) for before, after in zip(was, now, strict=True)]
        servers, replaced = _server_lines(old), _server_lines(new)
        if [name for name in servers if name in replaced] != [
            name for name in replaced if name in servers
        ]:
            _need_dynamic(new, "the order of servers changes")
        for name in [*servers, *(name for name in replaced if name not in servers)]:
            before, after = servers.get(name), replaced.get(name)
            if before and after and (line := self._same(before, after)):
                body.append(line)
                continue
            if default_server:
                raise _NeedsReloadError(f"server {name} changes beside a `default-server`")
            if before and after:
                body.append(self._change(new, before, after))
            elif after:
                body.append(self._add(new, after))
            else:
                self._delete(new, name)
        return replace(new, body=tuple(body))

    def _line(self, old: Directive, new: Directive, section: Section) -> Directive:
        if _is_untouched(old, new):
            return new
        if line := self._same(old, new):
            return line
        if new.name in _DEFERRED.get(section.kind, ()):
            return new
        raise _NeedsReloadError(f"{_title(section)}: `{new.name}` changes")

    def _same(self, old: Directive, new: Directive) -> Directive | None:
        """The new line with the worker's names, if it differs in paths of files at most."""
        slots, replaced = haproxyfiles.line_slots(old), haproxyfiles.line_slots(new)
        if [slot.kind for slot in slots] != [slot.kind for slot in replaced]:
            return None
        line = haproxyfiles.with_paths(new, [slot.path for slot in slots])
        if line != old:
            return None
        for before, after in zip(slots, replaced, strict=True):
            self._want(before, after)
        for path in haproxyfiles.list_paths([Section(head=None, body=(new,))]):
            self._list(path)
        return line

    def _list(self, path: str) -> None:
        try:
            old = haproxyfiles.list_lines(self._running.lists[path])
            new = haproxyfiles.list_lines(self._new.lists[path])
        except KeyError as exc:
            raise _NeedsReloadError(f"{path} cannot be read") from exc
        if [rest for _path, rest in old] != [rest for _path, rest in new]:
            raise _NeedsReloadError(f"{path} lists other certificates")
        for (before, _), (after, _) in zip(old, new, strict=True):
            self._want(
                Slot(kind=Kind.CERTIFICATE, path=before), Slot(kind=Kind.CERTIFICATE, path=after)
            )
        self._lists[path] = haproxyfiles.write_list(old)

    def _want(self, old: Slot, new: Slot) -> None:
        """What the worker knows as the file `old` shall have the content of `new`."""
        wanted = Held(kind=old.kind, name=old.path, source=new.path)
        other = self._wanted.setdefault(old.path, wanted)
        if self._file(other.source) != self._file(new.path) or other.kind is not old.kind:
            raise _NeedsReloadError(f"{old.path} becomes two different files")

    def _file(self, path: str) -> File:
        try:
            return self._new.files[path]
        except KeyError as exc:
            raise _NeedsReloadError(f"{path} cannot be read") from exc

    def _is_changed(self, held: Held) -> bool:
        return self._running.files.get(held.name) != self._file(held.source)

    def _set_file(self, held: Held) -> None:
        if self._file(held.source).size_bytes > PAYLOAD_MAX_BYTES:
            raise _NeedsReloadError(f"{held.source} is too large for a command")
        _plain(held.name)
        self._step(0, f"set ssl {held.kind} {held.name}", said="ransaction ", payload=held.source)
        self._step(0, f"commit ssl {held.kind} {held.name}", said="Success!")

    def _change(self, section: Section, old: Directive, new: Directive) -> Directive:
        name = f"{section.name}/{new.words[1]}"
        # A file in the same place keeps the worker's name for it.
        slots, replaced = haproxyfiles.line_slots(old), haproxyfiles.line_slots(new)
        if [slot.kind for slot in slots] != [slot.kind for slot in replaced]:
            raise _NeedsReloadError(f"server {name} has other files")
        line = haproxyfiles.with_paths(new, [slot.path for slot in slots])
        was, now = haproxyservers.parse_line(old), haproxyservers.parse_line(line)
        if was is None or now is None or was.parameters != now.parameters:
            raise _NeedsReloadError(f"server {name} has other parameters")
        for before, after in zip(slots, replaced, strict=True):
            self._want(before, after)
        self._count(section, name, now)
        if was.address != now.address:
            self._set_address(name, was, now)
        if was.weight != now.weight:
            _need_dynamic(section, f"the weight of server {name} changes")
            rank = 3 if now.weight > was.weight else 4
            self._step(rank, f"set server {name} weight {now.weight}")
        if was.disabled != now.disabled:
            state, rank = ("maint", 5) if now.disabled else ("ready", 3)
            self._step(rank, f"set server {name} state {state}")
        return line

    def _set_address(self, name: str, was: Server, now: Server) -> None:
        if was.address is None or now.address is None:
            raise _NeedsReloadError(f"server {name} has an address by name")
        address, port = now.address
        self._step(2, f"set server {name} addr {address} port {port}", said="by 'stats socket")

    def _add(self, section: Section, line: Directive) -> Directive:
        name = f"{section.name}/{line.words[1]}"
        self._need_exchangeable(section, f"server {name} is new")
        server = haproxyservers.parse_line(line)
        if server is None or server.address is None:
            raise _NeedsReloadError(f"server {name} is new and its line not understood")
        if more := {word for word, _value in server.parameters} - _ADDED_WITH:
            raise _NeedsReloadError(f"server {name} is new and has `{min(more)}`")
        self._count(section, name, server)
        words = [word for word in line.words[2:] if word not in {"disabled", "enabled"}]
        for word in words:
            _plain(word)
        self._step(1, f"add server {name} {' '.join(words)}", said="New server registered.")
        if ("check", "") in server.parameters:
            self._step(1, f"enable health {name}")
        if not server.disabled:
            self._step(1, f"enable server {name}")
        return line

    def _delete(self, section: Section, server_name: str) -> None:
        name = f"{section.name}/{server_name}"
        self._need_exchangeable(section, f"server {name} is gone")
        _plain(name)
        self._servers.add((section.name, server_name))
        self._step(5, f"set server {name} state maint")
        gone = Step(text=f"del server {name}", said="Server deleted.", patient=True)
        self._steps.append((6, gone))

    def _need_exchangeable(self, section: Section, what: str) -> None:
        if self._version < _ADD_SERVER_SINCE:
            raise _NeedsReloadError(f"{what}, for which this haproxy is too old")
        _need_dynamic(section, what)
        for line in section.body:
            words = line.words[1:] if line.name in {"option", "no"} else line.words
            if words and (words[0] in _NO_ADD or words[0].startswith(_NO_ADD_PREFIXES)):
                raise _NeedsReloadError(f"{what} beside `{words[0]}`")

    def _count(self, section: Section, name: str, server: Server) -> None:
        _plain(name)
        self._servers.add((section.name, server.name))

    def _step(self, rank: int, text: str, *, said: str = "", payload: str = "") -> None:
        """Commands of lower rank come first, so that there is always a server for a request."""
        self._steps.append((rank, Step(text=text, said=said, payload=payload)))


def _is_untouched(old: Directive, new: Directive) -> bool:
    """Whether it is the same line, and one without files; lines of equal text share their words."""
    return new.words is old.words and not haproxyfiles.may_name_files(new)


def _rest(section: Section) -> list[Directive]:
    """All but the servers, whose order means nothing where they can be exchanged."""
    return [line for line in section.body if not _is_server(section, line)]


def _server_lines(section: Section) -> dict[str, Directive]:
    lines = [line for line in section.body if _is_server(section, line)]
    found = {line.words[1]: line for line in lines}
    if len(found) != len(lines):
        raise _NeedsReloadError(f"{_title(section)} has two servers of one name")
    return found


def _is_server(section: Section, line: Directive) -> bool:
    return section.kind in {"backend", "listen"} and line.name == "server" and len(line.words) > 2


def _need_dynamic(section: Section, what: str) -> None:
    balance = [line.words[1] for line in section.body if line.name == "balance" and line.words[1:]]
    if not balance or balance[-1] not in _DYNAMIC_BALANCE:
        raise _NeedsReloadError(f"{what} and its backend does not balance dynamically")


def _has(section: Section, names: Iterable[str]) -> bool:
    return any(line.name in names for line in section.body)


def _plain(word: str) -> None:
    if not _PLAIN.fullmatch(word):
        raise _NeedsReloadError(f"{word!r} cannot stand in a command")


def _title(section: Section) -> str:
    return f"{section.kind} {section.name}".strip()


def _section_fault(old: Iterable[Section], new: Iterable[Section]) -> str:
    was, now = [_title(part) for part in old], [_title(part) for part in new]
    for title in now:
        if title not in was:
            return f"{title} is new"
    for title in was:
        if title not in now:
            return f"{title} is gone"
    return "the sections are in another order"
