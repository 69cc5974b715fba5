# SPDX-License-Identifier: Apache-2.0
"""amphora-agent.conf, as Octavia writes it, read into one frozen value.

Unknown sections and keys are ignored, because controllers of other releases send others; a known
key with a bad value is an error that says where it stands and what would be right.

What a value in the file means: the controller reads its own octavia.conf, renders the agent's file
with Jinja, whose escaping for HTML is on, and then verifies heartbeats with the key as *it* knows
it. So the value here must be what was rendered, not what a second reading of it would make of it:

- `&amp; &lt; &gt; &#39; &#34;` are turned back into `& < > ' "`; see `entities` for where and how
  often. Other entities are plain text, as Jinja writes no others.
- One pair of plain quotes around a value is taken away, as oslo.config does. Jinja cannot have
  written it, so somebody typed it. Escaped quotes belong to the value.
- `$` is plain. oslo.config would read `$$` as `$` and fail at the `$name` of no option, but the
  controller has replaced those already; a `$` that arrives is one of the value itself.
- Spaces around a value are lost.
"""

import configparser
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from amphora_agent import layout
from amphora_agent import settings_values as values
from amphora_agent.entities import unescape
from amphora_agent.errors import ConfigError
from amphora_agent.layout import Layout
from amphora_agent.settings_values import Controller
from amphora_agent.topology import Topology

T = TypeVar("T")


class TlsVersion(StrEnum):
    """Lowest TLS version of the API, by Octavia's names."""

    SSL_3 = "SSLv3"
    TLS_1_0 = "TLSv1"
    TLS_1_1 = "TLSv1.1"
    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The agent's configuration; the names in brackets are the sections of the file.

    Attributes:
        debug: [DEFAULT] log more.
        use_syslog: [DEFAULT] the controller always writes True; the journal is what is used.
        syslog_log_facility: [DEFAULT] name of syslog(3), such as LOG_LOCAL1.
        base_path, base_cert_dir: [haproxy_amphora] where load balancers and certificates lie.
        bind_host, bind_port: [haproxy_amphora] where the API listens.
        haproxy_cmd: [haproxy_amphora] the haproxy program.
        user_log_facility, administrative_log_facility: [amphora_agent] number of a local
            facility; controllers write them into [haproxy_amphora].
        controllers: [health_manager] controller_ip_port_list; entries that could not be
            understood are left out and stand in `bad_controllers`.
        heartbeat_interval_s: [health_manager] seconds between two heartbeats.
        heartbeat_key: [health_manager] key of the signature; None when there is none.
        heartbeat_version: [health_manager] heartbeat_message_version, the newest that may be sent;
            1 or 2 for controllers before Victoria. No controller writes it.
        heartbeat_max_bytes: [health_manager] larger heartbeats leave out what harms least. No
            controller writes it.
        agent_server_cert, agent_server_ca: [amphora_agent] PEM files of the API.
        agent_server_network_dir: [amphora_agent] directory of the interface files.
        request_timeout_s: [amphora_agent] agent_request_read_timeout.
        amphora_id: [amphora_agent] UUID of this amphora.
        tls_minimum: [amphora_agent] agent_tls_protocol.
        topology: [controller_worker] loadbalancer_topology.
    """

    debug: bool = False
    use_syslog: bool = True
    syslog_log_facility: str = "LOG_LOCAL1"
    base_path: Path = layout.BASE_PATH
    base_cert_dir: Path = layout.BASE_CERT_DIR
    bind_host: str = "::"
    bind_port: int = 9443
    haproxy_cmd: Path = Path("/usr/sbin/haproxy")
    user_log_facility: int = 0
    administrative_log_facility: int = 1
    controllers: tuple[Controller, ...] = ()
    bad_controllers: tuple[str, ...] = ()
    heartbeat_interval_s: float = 10.0
    heartbeat_key: str | None = field(default=None, repr=False)
    heartbeat_version: int = 3
    heartbeat_max_bytes: int = 65_000
    agent_server_cert: Path = layout.AGENT_SERVER_CERT
    agent_server_ca: Path = layout.AGENT_SERVER_CA
    agent_server_network_dir: Path = layout.INTERFACES_DIR
    request_timeout_s: int = 180
    amphora_id: str
    tls_minimum: TlsVersion = TlsVersion.TLS_1_2
    topology: Topology = Topology.SINGLE

    @property
    def layout(self) -> Layout:
        """The paths that follow from the configured directories."""
        return Layout(
            base=self.base_path,
            certs=self.base_cert_dir,
            interfaces=self.agent_server_network_dir,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands in the file.

    Attributes:
        live: a change takes effect at once; otherwise at the next start.
        elsewhere: another section where the key is accepted, if `section` does not have it.
    """

    section: str
    key: str
    live: bool = False
    elsewhere: str = ""

    def __str__(self) -> str:
        return f"[{self.section}] {self.key}"


# By the names of the fields of Settings. What is live is what Octavia registers as mutable.
PLACES: Mapping[str, Place] = {
    "debug": Place("DEFAULT", "debug", live=True),
    "use_syslog": Place("DEFAULT", "use_syslog"),
    "syslog_log_facility": Place("DEFAULT", "syslog_log_facility"),
    "base_path": Place("haproxy_amphora", "base_path"),
    "base_cert_dir": Place("haproxy_amphora", "base_cert_dir"),
    "bind_host": Place("haproxy_amphora", "bind_host"),
    "bind_port": Place("haproxy_amphora", "bind_port"),
    "haproxy_cmd": Place("haproxy_amphora", "haproxy_cmd"),
    "user_log_facility": Place("amphora_agent", "user_log_facility", elsewhere="haproxy_amphora"),
    "administrative_log_facility": Place(
        "amphora_agent", "administrative_log_facility", elsewhere="haproxy_amphora"
    ),
    "controllers": Place("health_manager", "controller_ip_port_list", live=True),
    "heartbeat_interval_s": Place("health_manager", "heartbeat_interval", live=True),
    "heartbeat_key": Place("health_manager", "heartbeat_key", live=True),
    "heartbeat_version": Place("health_manager", "heartbeat_message_version", live=True),
    "heartbeat_max_bytes": Place("health_manager", "heartbeat_max_bytes", live=True),
    "agent_server_cert": Place("amphora_agent", "agent_server_cert"),
    "agent_server_ca": Place("amphora_agent", "agent_server_ca"),
    "agent_server_network_dir": Place("amphora_agent", "agent_server_network_dir"),
    "request_timeout_s": Place("amphora_agent", "agent_request_read_timeout"),
    "amphora_id": Place("amphora_agent", "amphora_id"),
    "tls_minimum": Place("amphora_agent", "agent_tls_protocol"),
    "topology": Place("controller_worker", "loadbalancer_topology", live=True),
}


def take_over(in_force: Settings, loaded: Settings) -> Settings:
    """The settings in force after a changed file was read: only live values are those of the file.

    A process that took, say, another base_path over while its neighbours have the old one would
    report no listeners, and the controller would replace the amphora.
    """
    live = {name: getattr(loaded, name) for name, place in PLACES.items() if place.live}
    return dataclasses.replace(in_force, **live, bad_controllers=loaded.bad_controllers)


def postponed(in_force: Settings, loaded: Settings) -> tuple[str, ...]:
    """Section and key of every value of a file that takes effect at the next start only."""
    return tuple(
        str(place)
        for name, place in PLACES.items()
        if not place.live and getattr(in_force, name) != getattr(loaded, name)
    )


def load(path: Path) -> Settings:
    """Read the agent's configuration file.

    Raises:
        ConfigError: it is missing, unreadable, not INI, or a known key has a bad value.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as exc:
        raise ConfigError(
            f"{path} is missing",
            "Octavia injects it through the config drive: check that the instance has one",
        ) from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read", str(exc)) from exc
    return parse_bytes(content, source=str(path))


def parse_bytes(content: bytes, *, source: str) -> Settings:
    """Make settings of the content of a configuration file.

    Args:
        source: name of the file, for error messages.

    Raises:
        ConfigError: as `load`.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{source} is not text in UTF-8", f"byte {exc.start}") from exc
    return parse(text, source=source)


def parse(text: str, *, source: str) -> Settings:
    """Make settings of the text of a configuration file; see `parse_bytes`."""
    parser = configparser.ConfigParser(
        # oslo.config, which writes for and reads the original agent's file, knows neither
        # configparser's interpolation nor values that DEFAULT hands to other sections.
        interpolation=None,
        strict=False,
        default_section="",
        delimiters=("=", ":"),
    )
    try:
        parser.read_string(text, source=source)
    except configparser.Error as exc:
        # The errors' own texts quote the line, which may hold the heartbeat key.
        raise ConfigError(f"{source} is not an INI file", _fault(exc)) from None
    sections = {name: dict(parser[name]) for name in parser.sections()}
    return _Reader(source, sections).settings()


def _fault(error: configparser.Error) -> str:
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before the first [section]"
    if isinstance(error, configparser.ParsingError):
        lines = ", ".join(str(number) for number, _ in error.errors)
        return f"line {lines}: right would be [section] or key = value"
    return "right would be lines of [section] and key = value"


class _Reader:
    """Takes typed values out of the sections of one file."""

    def __init__(self, source: str, sections: Mapping[str, Mapping[str, str]]) -> None:
        self._source = source
        self._sections = sections

    def settings(self) -> Settings:
        good, bad = values.controllers(self._text(PLACES["controllers"]) or "")
        get = self._get
        settings = Settings(
            debug=get("debug", values.boolean, False),
            use_syslog=get("use_syslog", values.boolean, True),
            syslog_log_facility=get("syslog_log_facility", values.facility_name, "LOG_LOCAL1"),
            base_path=get("base_path", values.absolute, layout.BASE_PATH),
            base_cert_dir=get("base_cert_dir", values.absolute, layout.BASE_CERT_DIR),
            bind_host=get("bind_host", values.address, "::"),
            bind_port=get("bind_port", values.port, 9443),
            haproxy_cmd=get("haproxy_cmd", values.absolute, Path("/usr/sbin/haproxy")),
            user_log_facility=get("user_log_facility", values.local_facility, 0),
            administrative_log_facility=get(
                "administrative_log_facility", values.local_facility, 1
            ),
            controllers=good,
            bad_controllers=bad,
            heartbeat_interval_s=get("heartbeat_interval_s", values.interval, 10.0),
            # The controller renders an unset key as the word None.
            heartbeat_key=get("heartbeat_key", values.key, None),
            heartbeat_version=get("heartbeat_version", values.message_version, 3),
            heartbeat_max_bytes=get("heartbeat_max_bytes", values.datagram_size, 65_000),
            agent_server_cert=get("agent_server_cert", values.absolute, layout.AGENT_SERVER_CERT),
            agent_server_ca=get("agent_server_ca", values.absolute, layout.AGENT_SERVER_CA),
            agent_server_network_dir=get(
                "agent_server_network_dir", values.absolute, layout.INTERFACES_DIR
            ),
            request_timeout_s=get("request_timeout_s", values.positive, 180),
            amphora_id=get("amphora_id", values.amphora_id, None, required=True),
            tls_minimum=get("tls_minimum", TlsVersion, TlsVersion.TLS_1_2),
            topology=get("topology", Topology, Topology.SINGLE),
        )
        if settings.layout.longest_socket_path > layout.UNIX_SOCKET_PATH_MAX:
            raise self._error(
                PLACES["base_path"],
                str(settings.base_path),
                "a shorter directory: haproxy refuses unix socket paths over "
                f"{layout.UNIX_SOCKET_PATH_MAX} bytes",
            )
        return settings

    def _text(self, place: Place) -> str | None:
        value = self._sections.get(place.section, {}).get(place.key)
        if value is None:
            return None
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            return value[1:-1]
        return unescape(value)

    def _get(
        self,
        name: str,
        convert: Callable[[str], T],
        default: T | None,
        *,
        required: bool = False,
    ) -> T:
        """The value of a field of Settings."""
        place = PLACES[name]
        value = self._text(place)
        if value is None and place.elsewhere:
            place = Place(place.elsewhere, place.key)
            value = self._text(place)
        if value is None or (value == "" and not required):
            if required:
                raise ConfigError(f"{self._source}: {place} is missing", "it has no default")
            return default  # type: ignore[return-value]  # None is a T where it is the default
        try:
            return convert(value)
        except values.BadValue as exc:
            raise self._error(place, value, str(exc)) from exc
        except ValueError as exc:
            choices = ", ".join(convert) if isinstance(convert, type(StrEnum)) else str(exc)
            raise self._error(place, value, f"one of {choices}") from exc

    def _error(self, place: Place, value: str, right: str) -> ConfigError:
        return ConfigError(
            f"{self._source}: {place} = {value!r} is not valid", f"right would be {right}"
        )
