# SPDX-License-Identifier: Apache-2.0
"""Boot-time input: what Nova's config drive says becomes files and network configuration.

Runs once at every boot, before the network and before everything that reads an injected file.
Network, host name, keys and time zone follow the drive at every boot. Injected files are written
on the first boot of an instance only, because the controller may have replaced them since; later
boots only bring back one that is missing. Running it again changes nothing.

Input that is missing or wrong never stops the rest: each mistake is one line on standard error,
and the exit status says at the end that there was one.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from amphora_agent import networkd
from amphora_agent.configdrive.injected import authorized_keys, file_mode
from amphora_agent.configdrive.metadata import META_DATA, FileReference, MetaData, meta_data
from amphora_agent.configdrive.network import NETWORK_DATA, NetworkData, network_data
from amphora_agent.configdrive.userdata import USER_DATA, UserData, user_data
from amphora_agent.configdrive.volume import VOLUME_LABEL
from amphora_agent.errors import AgentError
from amphora_agent.layout import Layout
from amphora_agent.system import boot

T = TypeVar("T")

STATE = Path("/var/lib/amphora-provision")
INSTANCE_ID = STATE / "instance-id"
SAVED_NETWORK_DATA = STATE / "network_data.json"
NETWORKD = Path("/run/systemd/network")
MOUNT_POINT = Path("/run/amphora-provision/drive")
AUTHORIZED_KEYS = Path("/root/.ssh/authorized_keys")

# Seconds to wait for the drive to appear. Without it a first boot leads nowhere; a later one has
# all it needs on its own disk.
_FIRST_BOOT_WAIT_S = 10.0
_LATER_BOOT_WAIT_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Injected:
    """A file to write, from whichever document asks for it.

    Attributes:
        read: gives the content when it is needed.
    """

    path: Path
    mode: int
    read: Callable[[], bytes]


class Report:
    """What is told to the operator, in the journal and on the console."""

    def __init__(self) -> None:
        self.has_problems = False

    def say(self, text: str) -> None:
        """Tell what was done or found."""
        print(_one_line(text), flush=True)

    def problem(self, text: str) -> None:
        """Tell of a mistake in the input or a failure; the exit status will say so too."""
        self.has_problems = True
        print(_one_line(f"error: {text}"), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Turn a failure of one step into a problem, so that the next steps are still taken."""
        try:
            yield
        except (AgentError, OSError) as exc:
            self.problem(f"{what}: {exc}")


def main(argv: Sequence[str] | None = None) -> int:
    """Provision this machine, or the tree below --root; 1 when there was a problem."""
    options = _parser().parse_args(argv)
    report = Report()
    provision(options.root.absolute(), source=options.source, wait_s=options.wait, report=report)
    return 1 if report.has_problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="amphora-provision",
        description="Apply the config drive that Nova gave this server.",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="PATH",
        help="the drive: a directory, a block device or an image file"
        f" (default: the volume labelled {VOLUME_LABEL})",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=boot.LIVE_ROOT,
        metavar="PATH",
        help="provision the tree below PATH; the running host keeps its name (default: /)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help=f"how long to wait for the drive (default: {_FIRST_BOOT_WAIT_S:g} on the first boot,"
        f" then {_LATER_BOOT_WAIT_S:g})",
    )
    return parser


def provision(root: Path, *, source: Path | None, wait_s: float | None, report: Report) -> None:
    """Find the drive and apply it to the tree below `root`."""
    instance = _recorded_instance(root)
    if source is None:
        patience_s = _LATER_BOOT_WAIT_S if instance else _FIRST_BOOT_WAIT_S
        source = boot.find_drive(wait_s=patience_s if wait_s is None else wait_s)
    fresh = None
    if source is None:
        report.say(_no_drive(instance))
    else:
        with (
            report.attempt(f"config drive {source}"),
            boot.opened(source, boot.below(root, MOUNT_POINT)) as drive,
        ):
            report.say(f"config drive: {source}")
            apply_server(drive, root, instance, report)
            fresh = _read_document(drive, NETWORK_DATA, report)
    apply_network(root, fresh, report)


def _no_drive(instance: str | None) -> str:
    absent = f"no config drive (a volume labelled {VOLUME_LABEL}) is attached"
    if instance:
        return f"{absent}: instance {instance} keeps the files and the network that it has"
    return (
        f"{absent}, and none was ever seen: nothing is configured. Create the server with a"
        " config drive (Octavia asks Nova for one), or run amphora-provision --source PATH"
    )


def apply_server(drive: Path, root: Path, instance: str | None, report: Report) -> None:
    """Everything but the network.

    Args:
        instance: id of the instance that the tree was provisioned for; None on its first boot.
    """
    meta = _parse(drive, META_DATA, meta_data, report)
    user = UserData()
    if (drive / USER_DATA).exists():
        user = _parse(drive, USER_DATA, user_data, report) or user
    _tell(meta, user, report)
    if meta is not None:
        apply_identity(meta, root, report)
    if user.timezone:
        with report.attempt("time zone"):
            _set_timezone(root, user.timezone, report)

    instance_id = meta.instance_id if meta else None
    is_new = instance_id is not None and instance_id != instance
    injected = [*_injected_by_nova(drive, meta.files if meta else ()), *_injected_by_user(user)]
    complete = _write_injected(injected, root, overwrite=is_new, report=report)
    if is_new and complete:
        # Last of all, so that a crash in between redoes everything.
        with report.attempt("record of the instance"):
            boot.write(boot.below(root, INSTANCE_ID), f"{instance_id}\n".encode(), mode=0o644)
            report.say(f"first boot of instance {instance_id}: done")


def _tell(meta: MetaData | None, user: UserData, report: Report) -> None:
    """Pass on what the documents' readers found."""
    for problem in meta.problems if meta else ():
        report.problem(f"{META_DATA}: {problem}")
    for problem in user.problems:
        report.problem(f"{USER_DATA}: {problem}")
    if user.ignored:
        keys = ", ".join(map(repr, user.ignored))
        report.say(f"{USER_DATA}: without effect here: {keys}")


def apply_identity(meta: MetaData, root: Path, report: Report) -> None:
    """The host's name and who may log in."""
    if meta.hostname:
        with report.attempt("host name"):
            boot.set_hostname(root, meta.hostname)
    with report.attempt("ssh keys"):
        _write_keys(root, meta.public_keys)


def _write_injected(
    injected: Iterable[Injected], root: Path, *, overwrite: bool, report: Report
) -> bool:
    """Write files; False when a failure may be gone on the next boot, as a full disk may be."""
    complete = True
    for file in injected:
        target = boot.below(root, file.path)
        try:
            if not overwrite and target.exists():
                continue
            if boot.write(target, file.read(), mode=file.mode):
                report.say(f"wrote {file.path}")
        except AgentError as exc:
            report.problem(f"{file.path}: {exc}")
        except OSError as exc:
            report.problem(f"{file.path}: {exc}")
            complete = False
    return complete


def _injected_by_nova(drive: Path, files: Iterable[FileReference]) -> Iterator[Injected]:
    for file in files:
        mode = file_mode(file.path)
        yield Injected(path=file.path, mode=mode, read=partial(_content, drive, file.content))


def _injected_by_user(user: UserData) -> Iterator[Injected]:
    for file in user.files:
        yield Injected(path=file.path, mode=file.mode, read=partial(bytes, file.content))


def _content(drive: Path, name: str) -> bytes:
    try:
        return boot.read(drive / name)
    except FileNotFoundError as exc:
        raise AgentError(f"its content {name} is missing on the drive") from exc


def _write_keys(root: Path, keys: Sequence[str]) -> None:
    path = boot.below(root, AUTHORIZED_KEYS)
    existing = path.read_bytes() if path.exists() else b""
    # Lines that are not ours may hold any bytes; they come back as they were.
    text = authorized_keys(existing.decode(errors="surrogateescape"), keys)
    wanted = text.encode(errors="surrogateescape")
    if wanted == existing:
        return
    boot.make_directory(path.parent, mode=0o700)
    path.parent.chmod(0o700)
    boot.write(path, wanted, mode=0o600)


def _set_timezone(root: Path, zone: str, report: Report) -> None:
    # Without a zone database, and without /etc/localtime, the clock shows UTC already.
    if not boot.set_timezone(root, zone) and zone != "UTC":
        report.say(f"warning: user_data: this image has no time zone {zone}; it keeps to UTC")
        boot.set_timezone(root, "UTC")


def apply_network(root: Path, fresh: bytes | None, report: Report) -> None:
    """Write the configuration of the network, and keep a copy of what it was made from.

    Args:
        fresh: network_data.json of the drive; without it, or when it is of no use, that of the
            last boot serves.
    """
    saved_path = boot.below(root, SAVED_NETWORK_DATA)
    data = _network(fresh, NETWORK_DATA, report)
    if data is not None and fresh is not None:
        with report.attempt(str(SAVED_NETWORK_DATA)):
            boot.write(saved_path, fresh, mode=0o644)
    elif saved_path.exists():
        with report.attempt(str(SAVED_NETWORK_DATA)):
            data = _network(boot.read(saved_path), str(SAVED_NETWORK_DATA), report)
            report.say("network: as on the last boot")
    if data is None:
        report.say("network: no data, every interface stays unmanaged")
        return
    with report.attempt("network"):
        _write_network(root, data, report)


def _network(data: bytes | None, name: str, report: Report) -> NetworkData | None:
    """Network data, unless it is of no use."""
    if data is None:
        return None
    try:
        parsed = network_data(data)
    except AgentError as exc:
        report.problem(f"{name}: {exc}")
        return None
    for problem in parsed.problems:
        report.problem(f"{name}: {problem}")
    return parsed if parsed.nics or not parsed.problems else None


def _write_network(root: Path, data: NetworkData, report: Report) -> None:
    directory = boot.below(root, NETWORKD)
    texts = networkd.network_files(data, _namespace_macs(root))
    for name, text in texts.items():
        boot.write(directory / name, text.encode(), mode=0o644)
    boot.prune(directory, networkd.FILE_PATTERN, keep=frozenset(texts))
    report.say(f"network: {', '.join(texts) or 'the data describes no interface'}")


def _namespace_macs(root: Path) -> frozenset[str]:
    """MAC addresses of the NICs that the agent has moved into the amphora's namespace."""
    try:
        text = boot.below(root, Layout().plugged_interfaces).read_text(errors="replace")
    except OSError:
        return frozenset()  # none yet; whatever else is wrong must not cost the network
    return frozenset(line.split()[0] for line in text.lower().splitlines() if line.strip())


def _parse(drive: Path, name: str, parse: Callable[[bytes], T], report: Report) -> T | None:
    """A document of the drive; None, and a problem, when it is missing or cannot be read."""
    data = _read_document(drive, name, report)
    try:
        return None if data is None else parse(data)
    except AgentError as exc:
        report.problem(f"{name}: {exc}")
        return None


def _read_document(drive: Path, name: str, report: Report) -> bytes | None:
    try:
        return boot.read(drive / name)
    except FileNotFoundError:
        report.problem(f"{name} is missing on the config drive")
    except (AgentError, OSError) as exc:
        report.problem(f"{name}: {exc}")
    return None


def _recorded_instance(root: Path) -> str | None:
    try:
        return boot.below(root, INSTANCE_ID).read_text(errors="replace").strip() or None
    except OSError:
        return None


def _one_line(text: str) -> str:
    """Text for a console that may know nothing but ASCII."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode()


if __name__ == "__main__":
    sys.exit(main())
