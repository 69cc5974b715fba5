# SPDX-License-Identifier: Apache-2.0
"""Prints the rules of one interface for UDP and SCTP listeners, for the program lvs-masquerade.sh.

The agent renders the same text itself; this is for operators.
"""

import sys
from collections.abc import Sequence

from amphora_agent import render
from amphora_agent.errors import InvalidRequest
from amphora_agent.nft import Change

_VERSIONS = {"ipv4": 4, "ipv6": 6}
_SRIOV = "sriov"


def main(argv: Sequence[str] | None = None) -> int:
    """Print what nftables is to be given; 1 when the arguments are wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments:
        case [("add" | "delete") as change, ("ipv4" | "ipv6") as version, name, *rest] if rest in (
            [],
            [_SRIOV],
        ):
            pass
        case _:
            print(
                "usage: lvs-masquerade.sh add|delete ipv4|ipv6 INTERFACE [sriov]", file=sys.stderr
            )
            return 1
    try:
        text = render.masquerade(
            name, (_VERSIONS[version],), change=Change(change), track_tcp=bool(rest)
        )
    except InvalidRequest as exc:
        print(exc, file=sys.stderr)
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
