# SPDX-License-Identifier: Apache-2.0
"""Sites for tests, with passwords that are hard to write down."""

from pathlib import Path
from typing import Any

import yaml

from amphora_controller import site

NETWORK = "552f64af-c7e6-4353-a404-de53fe2fd7f3"
GROUP = "93b4ace2-00fe-4f64-893d-9f7a1d5c1b54"
HARD = "EXAMPLE-PASSWORD@1/:$x \\$y %41\"'"


def document(**changes: Any) -> dict[str, Any]:
    """A site as its file holds it.

    Args:
        changes: of parts, by `part__field`; None takes the field away.
    """
    whole: dict[str, Any] = {
        "controllers": [
            {"name": "ctl1", "management_ip": "192.0.2.11"},
            {"name": "ctl2", "management_ip": "2001:db8::12"},
        ],
        "database": {"host": "ctl1", "password": HARD},
        "messaging": {"hosts": ["ctl1:5672", "ctl2:5672"], "password": HARD},
        "keystone": {"auth_url": "http://ctl1:5000", "password": HARD, "region": "RegionOne"},
        "management": {"networks": [NETWORK], "security_groups": [GROUP]},
        "amphora": {"flavor": "f1", "topology": "ACTIVE_STANDBY"},
        "health": {"heartbeat_key": "abcdefghijklmnop"},
        "certificates": {"ca_passphrase": HARD, "storage_keys": ["k" * 32, "l" * 32]},
        "logs": {},
    }
    for place, value in changes.items():
        part, _, field = place.partition("__")
        if not field:
            whole[part] = value
        elif value is None:
            del whole[part][field]
        else:
            whole[part][field] = value
    return whole


def described(*more: dict[str, Any], **subnet: Any) -> dict[str, Any]:
    """Changes that describe a network instead of naming one."""
    return {"management": {"network": {"subnets": [subnet, *more]}}}


def loaded(directory: Path, **changes: Any) -> site.Site:
    """A site read from a file."""
    path = directory / "changed.yaml"
    path.write_text(yaml.safe_dump(document(**changes)))
    return site.load(path)
