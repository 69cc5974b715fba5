# SPDX-License-Identifier: Apache-2.0
"""Amphorae that are named by hand, where Octavia's API is not to be asked."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from amphora_controller.errors import ControllerError
from amphora_controller.fleet.model import Known


def given(addresses: Sequence[str], file: Path | None) -> list[Known]:
    """Amphorae by their addresses, each once.

    Args:
        file: a line for each: its address, and if wanted its UUID; after a `#` are remarks.

    Raises:
        ControllerError: the file cannot be read, or something is no address.
    """
    found = [Known(address=_address(text, "--amphora")) for text in addresses]
    if file is not None:
        found += _lines(file)
    return list({known.address: known for known in found}.values())


def _lines(file: Path) -> Iterator[Known]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ControllerError(f"{file} cannot be read", str(exc)) from exc
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{file}, line {number}"
        if len(words) > 2:
            raise ControllerError(f"{where} has {len(words)} words", "right is: ADDRESS [UUID]")
        yield Known(address=_address(words[0], where), id=words[1] if words[1:] else None)


def _address(text: str, where: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as exc:
        raise ControllerError(f"{where}: {text!r} is no address", "right is IPv4 or IPv6") from exc
