# SPDX-License-Identifier: Apache-2.0
"""The kernel's packet filter, by the program nft."""

from typing import Protocol

from amphora_agent.errors import AgentError, Refused
from amphora_agent.system import namespace, process

# A rule set of thousands of rules takes seconds on an emulated machine.
_TIMEOUT_S = 30.0


class Nftables(Protocol):
    """Rules inside the amphora's namespace."""

    def load(self, rules: str) -> None:
        """Put rules into force, all of them or none.

        Args:
            rules: a text as `nft -f` takes it.

        Raises:
            Refused: nft or the kernel does not take them; the details are its own words.
            AgentError: it could not be asked; what was in force still is.
        """

    def check(self, rules: str) -> None:
        """See whether rules would be taken; nothing changes.

        Raises:
            Refused: nft or the kernel would not take them; the details are its own words.
            AgentError: it could not be asked.
        """


class NftProgram:
    """The installed nft.

    Args:
        netns: the namespace whose rules are meant.
    """

    def __init__(self, netns: str) -> None:
        self._netns = netns

    def load(self, rules: str) -> None:
        """See Nftables."""
        self._run(rules)

    def check(self, rules: str) -> None:
        """See Nftables."""
        self._run(rules, "--check")

    def _run(self, rules: str, *options: str) -> None:
        try:
            # A process starts in the network namespace of the thread that starts it. nft hands
            # the whole text to the kernel in one transaction.
            done = namespace.call(
                self._netns,
                lambda: process.run(
                    ["nft", *options, "-f", "-"],
                    timeout_s=_TIMEOUT_S,
                    check=False,
                    stdin=rules.encode(),
                ),
            )
        except OSError as exc:
            raise AgentError("There is no namespace to filter in", str(exc)) from exc
        if done.returncode != 0:
            raise Refused("nft refuses the rules", done.output)
