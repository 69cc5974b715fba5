# SPDX-License-Identifier: Apache-2.0
"""The octavia.conf that unit tests of doctor begin with, and what they look at."""

from collections.abc import Sequence

from amphora_controller import oslo_conf
from amphora_controller.doctor import options
from amphora_controller.doctor.conf_file import ConfFile
from amphora_controller.doctor.findings import Note, Outcome
from amphora_controller.doctor.options import Options

CONF = """
[DEFAULT]
transport_url = rabbit://u:p@mq:5672/
[database]
connection = mysql+pymysql://u:p@db/octavia
[health_manager]
bind_ip = 192.0.2.1
heartbeat_key = key
controller_ip_port_list = 192.0.2.1:5555, 192.0.2.2:5555
[controller_worker]
amp_boot_network_list = net
amp_secgroup_list = group
amp_flavor_id = flavor
amp_image_tag = amphora
"""


def opts(*replacements: tuple[str, str]) -> Options:
    """Options of the usual file, with pieces of its text replaced."""
    return options.read(read(text(*replacements)))


def read(content: str) -> ConfFile:
    """What a text sets."""
    return ConfFile(sections=oslo_conf.parse(content, "octavia.conf"))


def text(*replacements: tuple[str, str]) -> str:
    """The usual file, with pieces replaced."""
    found = CONF
    for old, new in replacements:
        assert old in found
        found = found.replace(old, new)
    return found


def outcomes(notes: Sequence[Note]) -> list[Outcome]:
    """Outcomes alone."""
    return [note.outcome for note in notes]
