# SPDX-License-Identifier: Apache-2.0
"""Documents of config drives for tests, good and hostile."""

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from amphora_agent.configdrive.network import _NETWORK_TYPES

# How long an example takes says more about the machine than about the parsers.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample octavia@controller"


def as_bytes(document: object) -> bytes:
    """The document as a maker of config drives would write it."""
    return json.dumps(document).encode()


VALUES = [
    *("tap0", "ipv4", "ipv6", "vlan", "fa:16:3e:00:00:01", "192.0.2.1", "2001:db8::1", "::"),
    *("0.0.0.0", "64", "/content/0000", "/etc/x", "dns", SSH_KEY, "fe80::1%\n[x]"),
]
KEYS = [
    *("uuid", "name", "hostname", "files", "path", "content_path", "public_keys"),
    *("links", "networks", "services", "id", "type", "link", "mtu", "ethernet_mac_address"),
    *("ip_address", "netmask", "routes", "network", "gateway", "address"),
    *("write_files", "timezone", "runcmd", "content", "permissions", "owner"),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=25,
)
LINKED = st.fixed_dictionaries(
    {
        "links": st.lists(
            st.fixed_dictionaries(
                {
                    "id": st.sampled_from(["a", "b", ["a"], None]),
                    "type": st.sampled_from(["ovs", "bond", ["vlan"], {}]),
                    "ethernet_mac_address": st.sampled_from(["fa:16:3e:00:00:01", "x", 1]),
                    "mtu": JSON,
                }
            ),
            max_size=3,
        ),
        "networks": st.lists(
            st.fixed_dictionaries(
                {
                    "link": st.sampled_from(["a", "b", "c", []]),
                    "type": st.sampled_from([*_NETWORK_TYPES, "x", []]),
                    "ip_address": st.ip_addresses().map(str) | JSON,
                    "netmask": st.integers(0, 130) | st.ip_addresses().map(str) | JSON,
                    "routes": JSON,
                    "services": JSON,
                }
            ),
            max_size=3,
        ),
    }
)
