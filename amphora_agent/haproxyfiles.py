# SPDX-License-Identifier: Apache-2.0
"""Which files a haproxy configuration takes in, and what a worker was loaded with.

Paths of certificates stand after certain words of `bind` and `server` lines, and in certificate
lists (HAProxy configuration manual, "crt-list").
"""

import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from amphora_agent import haproxycfg
from amphora_agent.haproxycfg import Directive, Section


class Kind(StrEnum):
    """What a file holds, by haproxy's word for it on its socket."""

    CERTIFICATE = "cert"
    CA = "ca-file"
    CRL = "crl-file"


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """The content of a file, without the content.

    Attributes:
        digest: SHA-256 in hexadecimal.
        size_bytes: its length.
    """

    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """All that a worker makes itself of.

    Attributes:
        config: text of haproxy.cfg.
        lists: texts of its certificate lists by their paths.
        files: certificates, CA and CRL files by their paths.
    """

    config: str
    lists: Mapping[str, str]
    files: Mapping[str, File]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A place in a configuration or list where the path of a file stands."""

    kind: Kind
    path: str


CRT_LIST = "crt-list"
_KINDS = {"crt": Kind.CERTIFICATE, "ca-file": Kind.CA, "crl-file": Kind.CRL}
_FILE_WORDS = frozenset({*_KINDS, CRT_LIST})
_LINES_WITH_FILES = frozenset({"bind", "server", "default-server"})

# Other ways to take in files, or to find them elsewhere. Octavia renders none of them, an
# operator's own template may: nothing tells whether such a file has changed.
_OPAQUE_NAMES = frozenset(
    {
        *("crt-base", "ca-base", "errorfile", "errorfiles", "issuers-chain-path", "load"),
        *("lua-load", "lua-load-per-thread", "server-template"),
    }
)
_OPAQUE_WORDS = frozenset({"-f", "ca-verify-file", "lf-file", "file", "errorfile", "errorfiles"})
_MAP = re.compile(r"map[(_]")

_NAMES_FILE = re.compile(r"\b(?:crt|ca-file|crl-file)\b")
_PEM_BLOCK = re.compile(r"^-----BEGIN [A-Z0-9 ]+-----\s.*?^-----END [A-Z0-9 ]+-----", re.M | re.S)
_PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END")
_SHOWN_FINGERPRINT = re.compile(r"^SHA1 FingerPrint: ([0-9A-F]{40})$", re.M)


def opaque(sections: Iterable[Section]) -> str | None:
    """What in a configuration cannot be judged from its text and its certificates, if anything."""
    for section in sections:
        for line in (*((section.head,) if section.head else ()), *section.body):
            if not line.literal:
                return f"`{line.name}` depends on the environment"
            if line.name.startswith("."):
                return f"`{line.name}` is a condition"
            if line.name in _OPAQUE_NAMES or not _OPAQUE_WORDS.isdisjoint(line.words[1:]):
                return f"`{line.name}` takes in other files"
            if any("map" in word and _MAP.search(word) for word in line.words):
                return f"`{line.name}` takes in a map"
    return None


def lines_with_files(config: str) -> str:
    """The lines of a configuration that may name certificates, which is quicker to take apart."""
    return "\n".join(line for line in config.split("\n") if _NAMES_FILE.search(line))


def list_paths(sections: Iterable[Section]) -> set[str]:
    """Paths of the certificate lists."""
    return {
        line.words[at]
        for section in sections
        for line in section.body
        for at, key in _file_words(line)
        if key == CRT_LIST
    }


def slots(sections: Iterable[Section], lists: Mapping[str, str]) -> Iterator[Slot]:
    """Every place of a file, those in certificate lists among them."""
    for section in sections:
        for line in section.body:
            for at, key in _file_words(line):
                if key != CRT_LIST:
                    yield Slot(kind=_KINDS[key], path=line.words[at])
    for text in lists.values():
        for path, _rest in list_lines(text):
            yield Slot(kind=Kind.CERTIFICATE, path=path)


def may_name_files(line: Directive) -> bool:
    """Whether it has a word after which the path of a certificate could stand."""
    return not _FILE_WORDS.isdisjoint(line.words)


def line_slots(line: Directive) -> list[Slot]:
    """The places of files in a line, in order."""
    words = line.words
    return [
        Slot(kind=_KINDS[key], path=words[at]) for at, key in _file_words(line) if key in _KINDS
    ]


def with_paths(line: Directive, paths: Iterable[str]) -> Directive:
    """The line with other paths in its places, in order."""
    words = list(line.words)
    places = (at for at, key in _file_words(line) if key in _KINDS)
    for at, path in zip(places, paths, strict=True):
        words[at] = path
    return replace(line, words=tuple(words))


def list_lines(text: str) -> list[tuple[str, str]]:
    """The entries of a certificate list: path, and options and filters after it."""
    lines = (line.split("#", maxsplit=1)[0].split(maxsplit=1) for line in text.split("\n"))
    return [(words[0], words[1].rstrip() if len(words) > 1 else "") for words in lines if words]


def write_list(entries: Iterable[tuple[str, str]]) -> str:
    """The text of a certificate list."""
    return "".join(f"{path} {rest}".rstrip() + "\n" for path, rest in entries)


def pem_blocks(content: bytes) -> str:
    """The PEM blocks of a file without what may stand around them: each line ends, none is blank.

    Blank lines would end what a command carries.
    """
    found = _PEM_BLOCK.findall(content.decode("ascii", errors="replace"))
    lines = (line.strip() for block in found for line in block.split("\n"))
    return "".join(f"{line}\n" for line in lines if line)


def fingerprints(pem: str) -> list[str]:
    """SHA-1 of each certificate among PEM blocks, in hexadecimal as haproxy shows it."""
    return [
        hashlib.sha1(binascii.a2b_base64(body), usedforsecurity=False).hexdigest().upper()
        for body in _PEM_CERTIFICATE.findall(pem)
    ]


def shown_fingerprints(answer: str) -> list[str]:
    """The same in what haproxy answers to `show ssl cert` and `show ssl ca-file` with a name."""
    return _SHOWN_FINGERPRINT.findall(answer)


def write(sections: Iterable[Section]) -> str:
    """The text of a configuration; what is left to the environment does not come back."""
    lines = (
        line
        for section in sections
        for line in (*((section.head,) if section.head else ()), *section.body)
    )
    return "".join(" ".join(map(haproxycfg.quote, line.words)) + "\n" for line in lines)


def _file_words(line: Directive) -> Iterator[tuple[int, str]]:
    """Where paths stand in a line, and the word before each."""
    if line.name not in _LINES_WITH_FILES:
        return
    for at in range(2, len(line.words)):
        key = line.words[at - 1]
        if key in _KINDS or key == CRT_LIST:
            yield at, key
