# SPDX-License-Identifier: Apache-2.0
"""octavia.conf of one controller, made from the site.

Pure. Polls are quicker than Octavia's defaults at the same time-outs: a load balancer is not ready
seconds later than it could be.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError
from amphora_controller.site import Controller, Database, Engine, Site
from amphora_controller.template import template

Sections = Mapping[str, Mapping[str, str]]

_SECRET = re.compile(
    r"^(\s*(?:\w*password|\w*passphrase|heartbeat_key|connection|transport_url)\s*=).*$",
    re.MULTILINE,
)

# See templates/octavia.conf.j2.
_FIRST_WORDS = "# Made by amphoractl from "

_DRIVERS = {Engine.MYSQL: "mysql+pymysql", Engine.POSTGRESQL: "postgresql+psycopg2"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudIds:
    """What the file names by ids of the cloud.

    Attributes:
        image_owner: id of a project; empty takes images of any.
    """

    networks: tuple[str, ...]
    security_groups: tuple[str, ...]
    flavor: str
    image_owner: str


def stated_ids(site: Site) -> CloudIds:
    """Ids where the site has all of them.

    Raises:
        ControllerError: it says what to make instead.
    """
    management, amphora = site.management, site.amphora
    for place, is_missing in (
        ("management.networks", not management.networks),
        ("management.security_groups", not management.security_groups),
        ("amphora.flavor", not isinstance(amphora.flavor, str)),
    ):
        if is_missing:
            raise ControllerError(
                f"the site has no ids in {place}",
                "amphoractl setup config asks the cloud for what amphoractl setup has made",
            )
    return CloudIds(
        networks=management.networks,
        security_groups=management.security_groups,
        flavor=str(amphora.flavor),
        image_owner=amphora.image_owner or "",
    )


def render(site: Site, controller: Controller, ids: CloudIds, source: str) -> str:
    """The text of the file.

    Args:
        source: where the site came from, for people who read the file.

    Raises:
        ControllerError: a value cannot stand in the file.
    """
    written = {
        section: {
            key: value_text(f"{section}.{key}", value) for key, value in options.items() if value
        }
        for section, options in sections(site, controller, ids).items()
    }
    return template("octavia.conf.j2").render(
        sections={name: options for name, options in written.items() if options},
        source=source.replace("\n", " "),
    )


def sections(site: Site, controller: Controller, ids: CloudIds) -> Sections:
    """Every option that is set, with plain values; an empty value leaves Octavia's default."""
    certificates = Store(directory=Path(site.certificates.directory))
    return {
        "DEFAULT": {"transport_url": _transport_url(site)},
        "api_settings": {"bind_host": "0.0.0.0", "bind_port": "9876"},  # noqa: S104
        "database": {"connection": _database_url(site)},
        "oslo_messaging": {"topic": "octavia_prov"},
        "health_manager": {
            "bind_ip": controller.management_ip,
            "bind_port": str(site.health.port),
            "heartbeat_key": site.health.heartbeat_key,
            "controller_ip_port_list": ", ".join(
                _host_and_port(each.management_ip, site.health.port) for each in site.controllers
            ),
        },
        "keystone_authtoken": {
            "www_authenticate_uri": site.keystone.www_authenticate_uri or site.keystone.auth_url,
            "memcached_servers": ", ".join(site.keystone.memcached),
            **_account(site),
        },
        "service_auth": _account(site),
        **{
            service: {"region_name": site.keystone.region or ""}
            for service in ("nova", "neutron", "glance", "cinder")
        },
        "certificates": {
            "cert_generator": "local_cert_generator",
            "ca_certificate": str(certificates.server_certificate),
            "ca_private_key": str(certificates.server_key),
            "ca_private_key_passphrase": site.certificates.ca_passphrase,
            "server_certs_key_passphrase": ", ".join(site.certificates.storage_keys),
        },
        "haproxy_amphora": {
            "server_ca": str(certificates.server_chain),
            "client_cert": str(certificates.client_bundle),
            # 600 s in all, as the default of 120 times 5 s.
            "connection_max_retries": "600",
            "connection_retry_interval": "1",
        },
        "controller_worker": {
            "client_ca": str(certificates.client_chain),
            "amp_boot_network_list": ", ".join(ids.networks),
            "amp_secgroup_list": ", ".join(ids.security_groups),
            "amp_flavor_id": ids.flavor,
            "amp_image_tag": site.amphora.image_tag,
            "amp_image_owner_id": ids.image_owner,
            "amp_ssh_key_name": site.amphora.ssh_key or "",
            "loadbalancer_topology": site.amphora.topology,
            "amphora_driver": "amphora_haproxy_rest_driver",
            "compute_driver": "compute_nova_driver",
            "network_driver": "allowed_address_pairs_driver",
            # 300 s in all, as the default of 30 times 10 s.
            "amp_active_retries": "150",
            "amp_active_wait_sec": "2",
        },
        "amphora_agent": {
            "admin_log_targets": ", ".join(site.logs.admin_targets),
            "tenant_log_targets": ", ".join(site.logs.tenant_targets),
            "log_protocol": site.logs.protocol,
            "forward_all_logs": "True" if site.logs.forward_all else "",
            "disable_local_log_storage": "" if site.logs.keep_local else "True",
        },
    }


def value_text(name: str, value: str) -> str:
    """A value as oslo.config reads it back: `$` is escaped, outer quotes and spaces are kept.

    Raises:
        ControllerError: it has a line end or another control character.
    """
    if not value.isprintable():
        raise ControllerError(
            f"{name} in octavia.conf cannot hold a value with control characters",
            "look for a line end in the site's file",
        )
    # Doubled it would lose a backslash before it.
    escaped = value.replace("$", r"\$")
    if escaped != escaped.strip() or escaped[0] in "\"'":
        return f'"{escaped}"'
    return escaped


def is_rendered(text: str) -> bool:
    """Whether a configuration is one of ours."""
    return text.startswith(_FIRST_WORDS)


def without_secrets(text: str) -> str:
    """A configuration with the values of secret options left out."""
    return _SECRET.sub(r"\1…", text)


def _account(site: Site) -> dict[str, str]:
    keystone = site.keystone
    return {
        "auth_url": keystone.auth_url,
        "auth_type": "password",
        "username": keystone.username,
        "password": keystone.password,
        "user_domain_name": keystone.user_domain,
        "project_name": keystone.project,
        "project_domain_name": keystone.project_domain,
        "cafile": keystone.cafile or "",
    }


def _database_url(site: Site) -> str:
    database = site.database
    host = _host_and_port(database.host, database.port)
    account = f"{quote(database.user, safe='')}:{quote(_sent(database), safe='')}"
    url = f"{_DRIVERS[database.engine]}://{account}@{host}/{quote(database.name, safe='')}"
    return f"{url}?charset=utf8mb4" if database.engine is Engine.MYSQL else url


def _sent(database: Database) -> str:
    """The password such that Octavia sends it in UTF-8, as servers of MySQL store it.

    PyMySQL encodes passwords in Latin-1: others than ASCII would be taken for wrong ones.
    """
    if database.engine is Engine.POSTGRESQL:
        return database.password
    return database.password.encode().decode("latin-1")


def _transport_url(site: Site) -> str:
    messaging = site.messaging
    account = f"{quote(messaging.user, safe='')}:{quote(messaging.password, safe='')}"
    hosts = ",".join(f"{account}@{host}" for host in messaging.hosts)
    url = f"rabbit://{hosts}/{quote(messaging.virtual_host, safe='')}"
    return f"{url}?ssl=1" if messaging.tls else url


def _host_and_port(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def site_example(secrets: Mapping[str, str]) -> str:
    """A site's file to begin with.

    Args:
        secrets: see site.new_secrets.
    """
    return template("site.yaml.j2").render(secrets)
