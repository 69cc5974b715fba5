# SPDX-License-Identifier: Apache-2.0
"""Nova: the keypair whose public key amphorae take, if the site asks for one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Found, Request, Service, quoted
from amphora_controller.setup.context import Context
from amphora_controller.setup.keystone import named_user, user_id
from amphora_controller.setup.steps import Change

# The first one in which an administrator makes a keypair of another user.
_MICROVERSION = "2.10"


@dataclass(frozen=True, slots=True)
class KeypairStep:
    """A keypair of Octavia's own user, from a file with a public key.

    A keypair has no description: the comment of its public key tells who made it.
    """

    context: Context
    name = "keypair"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        name, file = self.context.site.amphora.ssh_key, self.context.site.amphora.ssh_public_key
        if name is None or file is None:
            return
        text = f"{public_key(Path(file))} {self._comment}"
        user = user_id(self.context)
        found = self.context.own(self._named(name, user), f"keypair {name}", self._is_own)
        if found is not None and found["public_key"].strip() != text:
            yield self._delete(name, user)
            found = None
        if found is None:
            body = {"name": name, "type": "ssh", "public_key": text, "user_id": user}
            yield self.context.change(
                f"create keypair {name}",
                Request(
                    service=Service.COMPUTE,
                    method="POST",
                    path="/os-keypairs",
                    body={"keypair": body},
                    microversion=_MICROVERSION,
                ),
            )

    def removals(self) -> Iterator[Change]:
        """See Step."""
        name = self.context.site.amphora.ssh_key
        user = named_user(self.context)
        if name is not None and user is not None:
            for found in self._named(name, user["id"]):
                if self._is_own(found):
                    yield self._delete(name, user["id"])

    @property
    def _comment(self) -> str:
        return f"amphoractl-{self.context.site.name}"

    def _is_own(self, found: Found) -> bool:
        return str(found["public_key"]).strip().endswith(f" {self._comment}")

    def _named(self, name: str, user: str) -> list[Found]:
        answer = self.context.cloud.find(
            Service.COMPUTE, f"/os-keypairs/{quoted(name)}?user_id={quoted(user)}"
        )
        return [] if answer is None else [answer["keypair"]]

    def _delete(self, name: str, user: str) -> Change:
        return self.context.change(
            f"delete keypair {name}",
            Request(
                service=Service.COMPUTE,
                method="DELETE",
                path=f"/os-keypairs/{quoted(name)}?user_id={quoted(user)}",
                microversion=_MICROVERSION,
            ),
        )


def public_key(path: Path) -> str:
    """Type and key of a file in the format of authorized_keys, without its comment.

    Raises:
        ControllerError: it cannot be read, or holds something else.
    """
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as exc:
        raise ControllerError(f"the public key {path} cannot be read", str(exc)) from exc
    if len(words) < 2 or not words[0].startswith(("ssh-", "ecdsa-", "sk-")):
        raise ControllerError(
            f"{path} holds no public key of SSH", "amphora.ssh_public_key wants a file like id.pub"
        )
    return f"{words[0]} {words[1]}"
