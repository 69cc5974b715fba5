# SPDX-License-Identifier: Apache-2.0
"""Configurations of keepalived compared by what they mean.

Two texts mean the same when they have the same comments that agents read, and the same blocks with
the same lines. Order counts where keepalived or the agent heeds it: members, addresses after which
VRRP advertises, routes and rules. Empty blocks say nothing.
"""

from dataclasses import dataclass, replace

from tests.support import keepalived_parser
from tests.support.keepalived_parser import Node

# Lists of values, as opposed to lines that begin with a keyword each.
_ORDERED = frozenset({"virtual_ipaddress", "virtual_ipaddress_excluded", "unicast_peer"})
_FLAGS = frozenset({"onlink"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What a text says.

    Attributes:
        comments: in the order of the file.
        nodes: in a normal form.
    """

    comments: tuple[str, ...]
    nodes: tuple[Node, ...]


def meaning(text: str) -> Meaning:
    """What a text says.

    Raises:
        ConfigError: it is none that keepalived reads as it stands there.
    """
    comments = tuple(keepalived_parser.comments(text))
    return Meaning(comments=comments, nodes=_normal(keepalived_parser.parse(text)))


def of_octavia(text: str, *, authenticates: bool) -> Meaning:
    """What a text of Octavia says, with the intended differences of docs/rendering.md applied.

    Args:
        authenticates: VRRP between these amphorae has a password.
    """
    said = meaning(text)
    nodes = said.nodes
    if not authenticates:
        nodes = tuple(_without_authentication(node) for node in nodes)
    kept = (line for line in said.comments if " HealthMonitor " not in line)
    return Meaning(comments=tuple(kept), nodes=nodes)


def _without_authentication(node: Node) -> Node:
    if node.children is None:
        return node
    children = tuple(child for child in node.children if child.words != ("authentication",))
    return replace(node, children=children)


def _normal(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    kept = [_normal_node(node) for node in nodes if node.children != ()]
    # A stable sort: members and other lines of one keyword stay in their order.
    return tuple(sorted(kept, key=lambda node: node.words[0]))


def _normal_node(node: Node) -> Node:
    if node.children is None:
        return node
    head = node.words[0]
    if head in _ORDERED:
        return node
    if head in {"virtual_routes", "virtual_rules"}:
        return replace(node, children=tuple(_route(child) for child in node.children))
    if head == "virtual_server_group":
        first, *others = node.children
        return replace(node, children=(first, *sorted(others, key=lambda child: child.words)))
    if head == "HTTP_GET":
        return replace(node, children=_normal(_one_url(node.children)))
    return replace(node, children=_normal(node.children))


def _route(node: Node) -> Node:
    """A route or rule with its options in alphabetical order."""
    first, *rest = node.words
    # A rule has no destination before its options.
    words = ["to", first, *rest] if first != "from" else [first, *rest]
    options = []
    while words:
        name = words.pop(0)
        # keepalived knows no `gateway`, which Octavia writes.
        options.append(
            (name,) if name in _FLAGS else (name.replace("gateway", "via"), words.pop(0))
        )
    return Node(words=tuple(word for option in sorted(options) for word in option))


def _one_url(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Octavia's blocks for one path, a code each, as one block for all codes."""
    urls = [node for node in nodes if node.words == ("url",)]
    if not urls:
        return nodes
    [path] = {child.words for url in urls for child in url.find("path")}
    codes: set[int] = set()
    for url in urls:
        [line] = url.find("status_code")
        for part in line.words[1:]:
            low, _, high = part.partition("-")
            codes |= set(range(int(low), int(high or low) + 1))
    numbers = tuple(str(code) for code in sorted(codes))
    merged = Node(
        words=("url",),
        children=(Node(words=path), Node(words=("status_code", *numbers))),
    )
    return (*(node for node in nodes if node.words != ("url",)), merged)
