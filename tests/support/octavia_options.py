# SPDX-License-Identifier: Apache-2.0
"""What Octavia's own oslo.config makes of an octavia.conf.

Started as `python -m tests.support.octavia_options FILE` by the interpreter of Octavia's virtual
environment; prints {"values": {section: {option: value}}, "unknown": ["section.option", ...]}.
"""
# Octavia and what it brings are not installed where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped"

import json
import sys
from typing import Any

import oslo_messaging
from keystoneauth1 import loading
from keystonemiddleware import opts as middleware_options
from octavia.common import config
from oslo_config import cfg, iniparser
from oslo_db import options as database_options


class _Lines(iniparser.BaseParser):  # type: ignore[misc]
    """Collects which options a file sets."""

    def __init__(self) -> None:
        super().__init__()
        self.section = ""
        self.found: list[tuple[str, str]] = []

    def new_section(self, section: str) -> None:
        self.section = section

    def assignment(self, key: str, value: list[str]) -> None:  # noqa: ARG002  # the base class calls it so
        self.found.append((self.section, key))


def main(path: str) -> None:
    """Read a file as Octavia's services do."""
    options = cfg.CONF
    config.init(["--config-file", path])
    database_options.set_defaults(options)
    for group, known in middleware_options.list_auth_token_opts():
        options.register_opts(known, group=group)
    oslo_messaging.get_rpc_transport(options).cleanup()
    # These are registered when Octavia first logs in, by the kind of account that the file names.
    loading.register_session_conf_options(options, "service_auth")
    loading.register_auth_conf_options(options, "service_auth")
    for group in ("keystone_authtoken", "service_auth"):
        options.register_opts(loading.get_auth_plugin_conf_options("password"), group=group)
    lines = _Lines()
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123
        lines.parse(stream)
    values: dict[str, dict[str, Any]] = {}
    unknown = []
    for section, key in lines.found:
        try:
            group = options if section == "DEFAULT" else getattr(options, section)
            values.setdefault(section, {})[key] = getattr(group, key)
        except cfg.NoSuchOptError:
            unknown.append(f"{section}.{key}")
    print(json.dumps({"values": values, "unknown": unknown}, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
