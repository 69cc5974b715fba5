# SPDX-License-Identifier: Apache-2.0
"""The kinds of text that stand in a document.

Each is a string in the form that is stored and rendered, so that a value that exists was checked.
"""

import re
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from typing import Any, ClassVar, Self

from amphora_agent.layout import is_object_id

Schema = dict[str, Any]

# A value goes into one line of a configuration; programs give up at lines of 2,048 bytes and more.
TEXT_MAX_CHARACTERS = 1024

_CERTIFICATE_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")
# Less quotes, which would begin something in the arguments of haproxy's functions.
_TOKEN = re.compile(r"[!#$%&*+.^_|~0-9A-Za-z-]{1,256}")
_PROJECT = re.compile(r"[0-9A-Za-z-]{1,64}")
_PASSWORD = re.compile(r"[0-9A-Za-z]{1,8}")
_CODES = re.compile(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?){0,15}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([0-9A-Za-z_]([0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?\.?)+")
_CIPHERS = re.compile(r"[0-9A-Za-z@=!+._-]{1,64}(:[0-9A-Za-z@=!+._-]{1,64}){0,63}")
_URL = re.compile(r"[!#-\[\]^_a-z{|}~]{1,1024}")


class Value(str):
    """A string of one kind.

    Attributes:
        schema: JSON Schema of the kind.
    """

    __slots__ = ()

    schema: ClassVar[Schema] = {"type": "string"}

    @classmethod
    def parse(cls, text: str) -> Self:
        """A checked value.

        Raises:
            ValueError: the text is not of this kind; the message says what is.
        """
        return cls(cls._normal(text))

    @classmethod
    def _normal(cls, text: str) -> str:
        return text


class ObjectId(Value):
    """Identifies an object of the controller: a UUID in lower case."""

    __slots__ = ()

    schema: ClassVar[Schema] = {
        "type": "string",
        "format": "uuid",
        "minLength": 36,
        "maxLength": 36,
    }

    @classmethod
    def _normal(cls, text: str) -> str:
        if not is_object_id(text):
            raise ValueError(f"{text!r} is not a UUID in lower case")
        return text


class Address(Value):
    """An IP address, compressed (RFC 5952)."""

    __slots__ = ()

    schema: ClassVar[Schema] = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self else 4

    @classmethod
    def _normal(cls, text: str) -> str:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise ValueError(f"{text!r} names a zone, which means nothing in another machine")
        return str(address)


class Network(Value):
    """A network in CIDR notation, without host bits."""

    __slots__ = ()

    schema: ClassVar[Schema] = {"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$"}

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self else 4

    @property
    def is_everywhere(self) -> bool:
        """Whether every address of the family is in it."""
        return self.endswith("/0")

    def holds(self, address: Address) -> bool:
        """Whether an address is in it."""
        return ip_address(address) in ip_network(self)

    @classmethod
    def _normal(cls, text: str) -> str:
        network = ip_network(text)
        # `10.0.0.0/255.0.0.0` is the same network, but programs that read the result know digits.
        return f"{network.network_address}/{network.prefixlen}"


class Granularity(Value):
    """How many clients one entry of a table of persistent sessions stands for.

    An IPv4 mask, or the length of an IPv6 prefix.
    """

    __slots__ = ()

    schema: ClassVar[Schema] = {
        "type": "string",
        "pattern": "^[0-9]{1,3}([.][0-9]{1,3}){0,3}$",
    }

    @classmethod
    def _normal(cls, text: str) -> str:
        if text.isascii() and text.isdecimal():
            if 1 <= int(text) <= 128:
                return str(int(text))
        elif "." in text:
            return str(IPv4Network(f"0.0.0.0/{text}").netmask)
        raise ValueError(f"{text!r} is neither an IPv4 mask nor a prefix length from 1 to 128")


class Text(Value):
    """Text of one line; whatever it holds is quoted where it is rendered."""

    __slots__ = ()

    schema: ClassVar[Schema] = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX_CHARACTERS}

    @classmethod
    def _normal(cls, text: str) -> str:
        if not text:
            raise ValueError("it is empty")
        if len(text) > TEXT_MAX_CHARACTERS:
            raise ValueError(f"it has over {TEXT_MAX_CHARACTERS} characters")
        if not text.isprintable():
            raise ValueError(f"{text!r} holds characters that do not print")
        return text


class _Pattern(Value):
    """A string that a regular expression describes whole."""

    __slots__ = ()

    pattern: ClassVar[re.Pattern[str]]
    kind: ClassVar[str]

    @classmethod
    def _normal(cls, text: str) -> str:
        if not cls.pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {cls.kind}")
        return text


class CertificateName(_Pattern):
    """Names a certificate, key or list of the document; with `.pem` it is a file name."""

    __slots__ = ()

    pattern, kind = _CERTIFICATE_NAME, "1 to 128 letters, digits, _ or -"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_CERTIFICATE_NAME.pattern}$"}


class Token(_Pattern):
    """A name of a header or a cookie (RFC 9110, section 5.6.2)."""

    __slots__ = ()

    pattern, kind = _TOKEN, "a token of HTTP"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_TOKEN.pattern}$"}


class ProjectId(_Pattern):
    """Identifies the project that a load balancer belongs to."""

    __slots__ = ()

    pattern, kind = _PROJECT, "1 to 64 letters, digits or -"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_PROJECT.pattern}$"}


class VrrpPassword(_Pattern):
    """What VRRP version 2 takes for a password (RFC 2338, section 5.3.6.1)."""

    __slots__ = ()

    pattern, kind = _PASSWORD, "1 to 8 letters or digits"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_PASSWORD.pattern}$"}

    @classmethod
    def _normal(cls, text: str) -> str:
        try:
            return super()._normal(text)
        except ValueError:
            # The message would hold it.
            raise ValueError(f"it is not {cls.kind}") from None


class StatusCodes(_Pattern):
    """Codes of HTTP answers: `200`, `200,202` or `200-204`, and lists of such."""

    __slots__ = ()

    pattern, kind = _CODES, "a list of up to 16 status codes or ranges of such"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_CODES.pattern}$"}

    @property
    def codes(self) -> tuple[int, ...]:
        """Every code that it stands for, each once, in ascending order."""
        parts = (part.partition("-") for part in self.split(","))
        ranges = (range(int(first), int(last or first) + 1) for first, _, last in parts)
        return tuple(sorted({code for each in ranges for code in each}))

    @classmethod
    def _normal(cls, text: str) -> str:
        normal = super()._normal(text)
        for part in normal.split(","):
            first, _, last = part.partition("-")
            if last and last < first:
                raise ValueError(f"{part!r} runs backwards")
        return normal


class Sha256(_Pattern):
    """A digest in lower-case hexadecimal."""

    __slots__ = ()

    pattern, kind = _SHA256, "64 hexadecimal digits in lower case"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_SHA256.pattern}$"}


class DomainName(_Pattern):
    """A host name."""

    __slots__ = ()

    pattern, kind = _DOMAIN, "a host name"
    schema: ClassVar[Schema] = {"type": "string", "format": "hostname"}


class CipherList(_Pattern):
    """Names of ciphers with colons between them (openssl-ciphers(1))."""

    __slots__ = ()

    pattern, kind = _CIPHERS, "a list of ciphers with colons between them"
    schema: ClassVar[Schema] = {"type": "string", "pattern": f"^{_CIPHERS.pattern}$"}


class Url(_Pattern):
    """A URL, an absolute path, or the beginning of one."""

    __slots__ = ()

    pattern, kind = _URL, "a URL in ASCII without spaces, double quotes and backslashes"
    schema: ClassVar[Schema] = {"type": "string", "format": "uri-reference"}


def decode(kind: type[Any], value: object) -> Any:
    """msgspec's `dec_hook`: strings to values.

    Raises:
        TypeError: it is no string.
        ValueError: it is not of the kind.
    """
    if not issubclass(kind, Value):
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return kind.parse(value)


def encode(value: object) -> str:
    """msgspec's `enc_hook`: values to strings.

    Raises:
        NotImplementedError: it is no value.
    """
    if not isinstance(value, Value):
        raise NotImplementedError(type(value))
    return str(value)


def schema(kind: type[Any]) -> Schema:
    """msgspec's `schema_hook`."""
    if not issubclass(kind, Value):
        raise NotImplementedError(kind)
    return kind.schema
