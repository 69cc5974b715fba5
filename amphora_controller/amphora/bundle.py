# SPDX-License-Identifier: Apache-2.0
"""The support bundle of an amphora, and the texts in it."""

import io
import tarfile
import zlib
from dataclasses import dataclass

from amphora_controller.amphora.client import Amphora
from amphora_controller.amphora.refusals import expect_2_0
from amphora_controller.errors import ControllerError

AGENT_CONFIG = "agent/amphora-agent.conf"
JOURNAL = "system/journal"

_PATH = "/2.0/support-bundle"
# The agent asks a dozen programs, at most this long, and packs what they say.
_TIMEOUT_S = 30.0
# Twice what an agent puts into one text.
_TEXT_MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A support bundle.

    Attributes:
        amphora_id: whose it is, as its certificate names it.
        packed: a tar.gz.
    """

    amphora_id: str
    packed: bytes

    def text(self, name: str) -> str:
        """One of its texts.

        Args:
            name: without the folder and the suffix that all have, such as `system/journal`.

        Raises:
            ControllerError: the bundle is damaged, or has no such text.
        """
        wanted = f"amphora/{name}.txt"
        try:
            with tarfile.open(fileobj=io.BytesIO(self.packed), mode="r|gz") as archive:
                for member in archive:
                    stream = archive.extractfile(member) if member.name == wanted else None
                    if stream is not None:
                        return stream.read(_TEXT_MAX_BYTES).decode(errors="replace")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as exc:
            raise ControllerError("the support bundle is damaged", str(exc)) from exc
        raise ControllerError(f"the support bundle has no {name}", "is its agent an older one?")


def fetch(amphora: Amphora) -> Bundle:
    """Ask for the bundle.

    Raises:
        ControllerError: it was not to be had, or is none.
    """
    with amphora.connect() as session:
        names = session.names
        answer = expect_2_0(session.request("GET", _PATH, timeout_s=_TIMEOUT_S), 200)
    if answer.headers.get("content-type") != "application/gzip":
        raise ControllerError("the answer is not a support bundle", "is that an amphora's agent?")
    return Bundle(amphora_id=names[0] if names else "unnamed", packed=answer.body)


def tail(content: str, lines: int) -> str:
    """The last lines of a text, each with its end."""
    return "".join(content.splitlines(keepends=True)[-lines:])


def printable(content: str) -> str:
    """A text that a terminal only prints: other control characters are shown by their numbers."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else f"\\x{ord(character):02x}"
        for character in content
    )
