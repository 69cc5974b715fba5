# SPDX-License-Identifier: Apache-2.0
"""The documents of a config drive, good, odd and hostile."""

import contextlib
import json
import subprocess
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amphora_agent import configdrive
from amphora_agent.configdrive import Method, NetworkData, Nic, NicNetwork
from amphora_agent.errors import ParseError
from amphora_agent.models import Route
from tests.support import need

# How long an example takes says more about the machine than about the parsers.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample octavia@controller"
USUAL = (
    "#cloud-config\n# it's a comment\n\nruncmd:\n-   systemctl restart rsyslog\n\n\ntimezone: UTC"
)
USER_DATA_LINES = [
    *("#cloud-config", "# comment", "", " ", "\t", "---", "...", "a: b", "  more", "- x"),
    *("runcmd:", "-   systemctl restart rsyslog", "timezone: UTC", "timezone: Europe/Zurich"),
    *("timezone: America/New_York", "timezone: UTC # x", "timezone: 'UTC'", "timezone: No"),
]


def as_bytes(document: object) -> bytes:
    """The document as a maker of config drives would write it."""
    return json.dumps(document).encode()


def network_data(*networks: dict[str, Any], **link: object) -> NetworkData:
    """Network data with one NIC, its link called `tap0`."""
    links = [{"id": "tap0", "type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01"} | link]
    entries = [{"id": "network0", "link": "tap0"} | network for network in networks]
    return configdrive.network_data(as_bytes({"links": links, "networks": entries}))


def only_network(**fields: object) -> NicNetwork:
    """The network of a document that has one, and no problem."""
    data = network_data(fields)
    assert data.problems == ()
    return data.nics[0].networks[0]


# Volume labels


@pytest.mark.parametrize("label", ["config-2", "CONFIG-2"])
def test_volume_label_of_an_iso_is_read(tmp_path: Path, label: str) -> None:
    """The label that xorriso wrote is found in the head of the image."""
    need.programs("xorriso")
    (tmp_path / "tree").mkdir()
    image = tmp_path / "image"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-J", "-r", "-o", image,
         tmp_path / "tree"],
        check=True, capture_output=True,
    )  # fmt: skip
    head = image.read_bytes()[: configdrive.VOLUME_HEAD_BYTES]
    assert configdrive.volume_label(head) == label
    assert configdrive.volume_label(head[:-2048]) is None


@pytest.mark.parametrize("bits", ["12", "16", "32"])
def test_volume_label_of_a_fat_volume_is_read(tmp_path: Path, bits: str) -> None:
    """The label that mkfs.vfat wrote is found, whichever table the volume has."""
    need.programs("mkfs.vfat")
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    subprocess.run(
        ["mkfs.vfat", "-F", bits, "-n", "CONFIG-2", image], check=True, capture_output=True
    )
    head = image.read_bytes()[: configdrive.VOLUME_HEAD_BYTES]
    assert configdrive.volume_label(head) == "CONFIG-2"


@UNHURRIED
@given(st.binary(max_size=128))
@example(b"")
def test_volume_label_of_anything_else_is_none(head: bytes) -> None:
    """Bytes without the mark of a known file system have no label."""
    if b"FAT" not in head:
        assert configdrive.volume_label(head) is None


# meta_data.json


def test_meta_data_is_read_as_nova_writes_it() -> None:
    """Id, short host name, keys and files come out; what is not ours is ignored."""
    document = {
        "uuid": "a1b2c3d4-0000-4000-8000-000000000001",
        "hostname": "amphora-1.novalocal",
        "name": "amphora 1",
        "admin_pass": "secret",
        "random_seed": "c2VlZA==",
        "keys": [{"name": "k", "type": "ssh", "data": SSH_KEY}],
        "public_keys": {"k": f"{SSH_KEY}\n"},
        "files": [{"content_path": "/content/0000", "path": "/etc/octavia/certs/server.pem"}],
        "devices": [],
    }
    meta = configdrive.meta_data(as_bytes(document))
    assert meta == configdrive.MetaData(
        instance_id="a1b2c3d4-0000-4000-8000-000000000001",
        hostname="amphora-1",
        public_keys=(SSH_KEY,),
        files=(
            configdrive.FileReference(
                path=Path("/etc/octavia/certs/server.pem"), content="openstack/content/0000"
            ),
        ),
    )


@pytest.mark.parametrize(
    "path",
    ["etc/x", "", "/", "//etc/x", "/etc/../x", "/etc/./x", "/etc/x/", "/etc//x", "/etc/x\n", "/\0"],
)
def test_meta_data_path_that_is_not_plain_is_refused_by_name(path: str) -> None:
    """Only the bad entry is lost, and the message says which it was."""
    files = [
        {"content_path": "/content/0000", "path": path},
        {"content_path": "/content/0001", "path": "/etc/good"},
    ]
    meta = configdrive.meta_data(as_bytes({"uuid": "u", "files": files}))
    assert [file.path for file in meta.files] == [Path("/etc/good")]
    [problem] = meta.problems
    assert problem.startswith("files[0]: ")
    assert "path" in problem


@pytest.mark.parametrize("content", ["/content/../latest/x", "content/0000", "/content/", 7, None])
def test_meta_data_content_path_outside_content_is_refused(content: object) -> None:
    """A content path cannot name anything but a file in openstack/content."""
    document = {"uuid": "u", "files": [{"content_path": content, "path": "/etc/x"}]}
    meta = configdrive.meta_data(as_bytes(document))
    assert meta.files == ()
    assert len(meta.problems) == 1


@pytest.mark.parametrize(
    ("name", "hostname"), [("a", "a"), ("A-1.b_c", "A-1"), ("a" * 63, "a" * 63)]
)
def test_meta_data_host_name_loses_its_domain(name: str, hostname: str) -> None:
    """What comes before the first dot is the host's name."""
    assert configdrive.meta_data(as_bytes({"uuid": "u", "name": name})).hostname == hostname


@pytest.mark.parametrize("name", ["-a", "a_b", "a" * 64, ".a", "a b", "é", 5, ["a"]])
def test_meta_data_bad_host_name_is_a_problem(name: object) -> None:
    """A name that no host may have is told and left out; the rest is read."""
    meta = configdrive.meta_data(as_bytes({"uuid": "u", "hostname": name}))
    assert (meta.hostname, meta.instance_id) == (None, "u")
    assert "hostname" in meta.problems[0]


@pytest.mark.parametrize(
    "key",
    ["", "not a key", "ssh-rsa", "-----BEGIN CERTIFICATE-----", f"{SSH_KEY}\x1b[0m", 7, None],
)
def test_meta_data_text_that_is_no_key_is_a_problem(key: object) -> None:
    """A key that sshd would not read is told by its name; the good one beside it stays."""
    document = {"uuid": "u", "public_keys": {"bad": key, "good": SSH_KEY}}
    meta = configdrive.meta_data(as_bytes(document))
    assert meta.public_keys == (SSH_KEY,)
    assert "'bad'" in meta.problems[0]


def test_meta_data_without_uuid_is_a_problem() -> None:
    """The id is what makes a first boot; its absence is told."""
    meta = configdrive.meta_data(b"{}")
    assert meta.instance_id is None
    assert "uuid" in meta.problems[0]


# network_data.json


def test_network_data_of_a_management_port_is_read() -> None:
    """The form that Nova gives a port on a subnet without DHCP and gateway."""
    data = network_data(
        {"type": "ipv4", "ip_address": "192.0.2.17", "netmask": "255.255.255.0", "routes": []},
        mtu=1442,
        vif_id="x",
    )
    network = NicNetwork(method=Method.STATIC, address=ip_interface("192.0.2.17/24"))
    nic = Nic(mac="fa:16:3e:00:00:01", mtu=1442, networks=(network,))
    assert data == NetworkData(nics=(nic,))


@pytest.mark.parametrize(
    ("address", "netmask", "expected"),
    [
        ("192.0.2.17", "255.255.255.255", "192.0.2.17/32"),
        ("192.0.2.17", "24", "192.0.2.17/24"),
        ("192.0.2.17", 24, "192.0.2.17/24"),
        ("192.0.2.17/25", None, "192.0.2.17/25"),
        ("2001:db8::17", "ffff:ffff:ffff:ffff::", "2001:db8::17/64"),
        ("2001:db8::17", "64", "2001:db8::17/64"),
        ("2001:db8::17/64", None, "2001:db8::17/64"),
        ("2001:db8::17", "::", "2001:db8::17/0"),
    ],
)
def test_network_data_netmask_is_read_in_each_form(
    address: str, netmask: object, expected: str
) -> None:
    """As a mask, as a number of bits, or behind the address."""
    kind = "ipv6" if ":" in address else "ipv4"
    network = only_network(type=kind, ip_address=address, netmask=netmask)
    assert network.address == ip_interface(expected)


@pytest.mark.parametrize(
    ("kind", "address", "netmask"),
    [
        ("ipv4", "192.0.2.17", None),
        ("ipv4", "192.0.2.17", 33),
        ("ipv4", "192.0.2.17", True),
        ("ipv4", "192.0.2.17", "0.0.0.255"),
        ("ipv4", "192.0.2.17", "255.0.255.0"),
        ("ipv4", "192.0.2.17", "ffff::"),
        ("ipv4", "192.0.2.300", "24"),
        ("ipv4", "0.0.0.0", "24"),
        ("ipv4", "2001:db8::17", "64"),
        ("ipv4", 3221225985, "24"),
        ("ipv6", "192.0.2.17", "24"),
        ("ipv6", "2001:db8::17", "129"),
        ("ipv6", "ff02::1", "64"),
        ("ipv6", "fe80::1%eth0\n[Network]", "64"),
        ("ipv6", None, "64"),
    ],
)
def test_network_data_bad_address_is_a_problem(kind: str, address: object, netmask: object) -> None:
    """A network that cannot be configured is left out and told; its neighbour stays."""
    data = network_data(
        {"type": kind, "ip_address": address, "netmask": netmask}, {"type": "ipv4_dhcp"}
    )
    assert [network.method for network in data.nics[0].networks] == [Method.DHCP4]
    [problem] = data.problems
    assert problem.startswith("networks[0]: ")


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("ipv4_dhcp", Method.DHCP4),
        ("ipv6_slaac", Method.SLAAC),
        ("ipv6_dhcpv6-stateless", Method.SLAAC),
        ("ipv6_dhcpv6-stateful", Method.DHCP6),
        ("ipv6_dhcp", Method.DHCP6),
    ],
)
def test_network_data_automatic_network_has_no_address(kind: str, method: Method) -> None:
    """Nova tells the address of some of these; the network itself will give it."""
    network = only_network(type=kind, ip_address="2001:db8::17", netmask="64", routes=[])
    assert network == NicNetwork(method=method)


def test_network_data_routes_are_read() -> None:
    """Default, subnet and on-link routes; bad ones are told and left out."""
    data = network_data(
        {
            "type": "ipv4",
            "ip_address": "192.0.2.17/24",
            "routes": [
                {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"},
                {"network": "198.51.100.7/24", "gateway": "192.0.2.2"},
                {"network": "203.0.113.0", "netmask": "255.255.255.0", "gateway": "0.0.0.0"},
                {"network": "203.0.113.0", "netmask": "255.255.255.0", "gateway": "::1"},
                {"network": "::", "netmask": "::", "gateway": "fe80::1"},
                {"gateway": "192.0.2.1"},
                7,
            ],
        }
    )
    assert data.nics[0].networks[0].routes == (
        Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address("192.0.2.1")),
        Route(destination=ip_network("198.51.100.0/24"), gateway=ip_address("192.0.2.2")),
        Route(destination=ip_network("203.0.113.0/24")),
    )
    assert len(data.problems) == 4
    assert all("'network0' routes[" in problem for problem in data.problems)


def test_network_data_dns_is_read_from_networks_and_document() -> None:
    """Services of another type are ignored, bad addresses told."""
    services = [
        {"type": "dns", "address": "192.0.2.53"},
        {"type": "ntp", "address": "x"},
        {"type": "dns", "address": "x"},
    ]
    document = {
        "links": [{"id": "t", "type": "phy", "ethernet_mac_address": "FA:16:3E:00:00:01"}],
        "networks": [{"type": "ipv4_dhcp", "link": "t", "services": services}],
        "services": services,
    }
    data = configdrive.network_data(as_bytes(document))
    assert data.dns == data.nics[0].networks[0].dns == (ip_address("192.0.2.53"),)
    assert len(data.problems) == 2


@pytest.mark.parametrize("kind", ["bond", "vlan"])
def test_network_data_bonds_and_vlans_are_skipped_alone(kind: str) -> None:
    """One clear problem names the link; the plain port beside it is configured."""
    document = {
        "links": [
            {"id": "special", "type": kind, "ethernet_mac_address": "fa:16:3e:00:00:02"},
            {"id": "plain", "type": "tap", "ethernet_mac_address": "fa:16:3e:00:00:01"},
        ],
        "networks": [
            {"type": "ipv4_dhcp", "link": "special"},
            {"type": "ipv4_dhcp", "link": "plain"},
        ],
    }
    data = configdrive.network_data(as_bytes(document))
    assert [nic.mac for nic in data.nics] == ["fa:16:3e:00:00:01"]
    [problem] = data.problems
    assert "special" in problem
    assert "not supported" in problem


@pytest.mark.parametrize(
    ("mtu", "kept"), [(68, 68), (65535, 65535), (None, None), (67, None), ("1500", None)]
)
def test_network_data_mtu_out_of_range_is_told_and_dropped(mtu: object, kept: int | None) -> None:
    """The NIC is configured without it; an absent one is no problem."""
    data = network_data({"type": "ipv4_dhcp"}, mtu=mtu)
    assert data.nics[0].mtu == kept
    assert bool(data.problems) == (kept != mtu)


@pytest.mark.parametrize(
    "mac", ["", None, "fa:16:3e:00:00", "fa-16-3e-00-00-01", "fa:16:3e:00:00:0g"]
)
def test_network_data_link_without_mac_is_a_problem(mac: object) -> None:
    """The link and its network are both told of."""
    data = network_data({"type": "ipv4_dhcp"}, ethernet_mac_address=mac)
    assert data.nics == ()
    assert "ethernet_mac_address" in data.problems[0]
    assert "tap0" in data.problems[1]


def test_network_data_second_link_with_one_mac_is_a_problem() -> None:
    """Two files for one NIC would fight; the first link wins."""
    link = {"type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01"}
    document = {
        "links": [{"id": "a"} | link, {"id": "b"} | link],
        "networks": [{"type": "ipv4_dhcp", "link": "a"}],
    }
    data = configdrive.network_data(as_bytes(document))
    assert len(data.nics) == 1
    assert "twice" in data.problems[0]


def test_network_data_link_without_network_is_left_alone() -> None:
    """There is nothing to configure, so the NIC stays unmanaged."""
    assert network_data() == NetworkData()


# user_data


def test_user_data_of_octavia_is_read() -> None:
    """The usual document gives a time zone, and nothing to complain of."""
    assert configdrive.user_data(USUAL.encode()) == configdrive.UserData(timezone="UTC")


def test_user_data_write_files_are_read() -> None:
    """Content as it is, with the escapes that the controller left in it; a mode that fits."""
    text = (
        "#cloud-config\n"
        "write_files:\n"
        "-   path: /etc/octavia/amphora-agent.conf\n"
        "    content: |\n"
        "        \n"
        "        heartbeat_key = a&amp;amp;b\n"
        "-   {path: /etc/x, content: x, permissions: 0750, owner: root:root}\n"
        "-   {path: /etc/octavia/certs/server.pem, content: x, permissions: '0644'}\n"
        "-   {path: /etc/y}\n"
        "runcmd:\n"
        "-   systemctl restart rsyslog\n"
        "-   service amphora-agent restart\n"
    )
    data = configdrive.user_data(text.encode())
    assert [(str(file.path), file.content, oct(file.mode)) for file in data.files] == [
        ("/etc/octavia/amphora-agent.conf", b"\nheartbeat_key = a&amp;amp;b\n", "0o600"),
        ("/etc/x", b"x", "0o750"),
        ("/etc/octavia/certs/server.pem", b"x", "0o600"),
        ("/etc/y", b"", "0o644"),
    ]
    assert (data.problems, data.ignored, data.timezone) == ((), (), None)


@pytest.mark.parametrize(
    "entry",
    [
        "{path: ../x}",
        "{path: x}",
        "{content: x}",
        "{path: /x, encoding: b64}",
        "{path: /x, append: true}",
        "{path: /x, owner: nobody}",
        "{path: /x, permissions: 4755}",
        "{path: /x, permissions: rw}",
        "{path: /x, content: [x]}",
        '{path: /x, content: "\\ud800"}',
        "7",
    ],
)
def test_user_data_file_that_cannot_be_written_is_a_problem(entry: str) -> None:
    """The entry is told by its number; the good one after it is kept."""
    text = f"#cloud-config\nwrite_files:\n- {entry}\n- {{path: /good}}\n"
    data = configdrive.user_data(text.encode())
    assert [str(file.path) for file in data.files] == ["/good"]
    [problem] = data.problems
    assert problem.startswith("write_files[0]: ")


def test_user_data_other_keys_are_named() -> None:
    """A command that Octavia does not send counts as one: it would have no effect."""
    text = "#cloud-config\npackages: [x]\nruncmd: [reboot]\ntimezone: UTC\n"
    assert configdrive.user_data(text.encode()).ignored == ("packages", "runcmd")


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/passwd", "a b", "[x]", "Europe/", "."])
def test_user_data_time_zone_that_is_a_path_is_a_problem(zone: str) -> None:
    """A zone is a name in the zone database and cannot lead out of it."""
    data = configdrive.user_data(f"#cloud-config\ntimezone: {zone}\n".encode())
    assert data.timezone is None
    assert "timezone" in data.problems[0]


@pytest.mark.parametrize("data", [b"", b"\n", b"#cloud-config", b"#cloud-config\n# nothing\n"])
def test_user_data_may_be_empty(data: bytes) -> None:
    """Nothing asked for is no mistake."""
    assert configdrive.user_data(data) == configdrive.UserData()


@pytest.mark.parametrize(
    "data",
    [
        b"#!/bin/sh\n",
        b"\x1f\x8b",
        b"#cloud-config\n\xff",
        b"#cloud-config\n- a\n",
        b"#cloud-config\na: [\n",
        b"#cloud-config\n" + b"[" * 20000,
        b'#cloud-config\na: "\\UFFFFFFFF"\n',
    ],
)
def test_user_data_of_another_kind_is_refused(data: bytes) -> None:
    """Scripts, archives, broken and bottomless YAML end in the module's own error."""
    with pytest.raises(ParseError):
        configdrive.user_data(data)


@UNHURRIED
@given(st.lists(st.sampled_from(USER_DATA_LINES), max_size=9))
@example(USUAL.splitlines()[1:])
def test_user_data_without_yaml_equals_user_data_with_yaml(lines: list[str]) -> None:
    """Where the short way gives an answer, a YAML library gives the same."""
    text = "\n".join(["#cloud-config", *lines])
    usual = configdrive._usual_user_data(text)
    if usual is not None:
        assert usual == yaml.safe_load(text)


def test_user_data_of_octavia_needs_no_yaml() -> None:
    """The usual document takes the short way, one with files does not."""
    assert configdrive._usual_user_data(USUAL) is not None
    assert configdrive._usual_user_data(f"{USUAL}\nwrite_files: []\n") is None


# Hostile documents

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
                    "type": st.sampled_from([*configdrive._NETWORK_TYPES, "x", []]),
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

PARSERS: list[Callable[[bytes], object]] = [configdrive.meta_data, configdrive.network_data]


@pytest.mark.parametrize("parse", PARSERS)
@UNHURRIED
@given(JSON | LINKED)
def test_document_of_any_shape_gives_a_value_or_a_parse_error(
    parse: Callable[[bytes], object], document: object
) -> None:
    """JSON of any shape never raises anything but ParseError."""
    accepted_or_refused(parse, as_bytes(document))


@pytest.mark.parametrize("parse", [*PARSERS, configdrive.user_data])
@UNHURRIED
@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"a":' * 900 + b"1" + b"}" * 900)
@example(b'{"links": ' + b"[" * 800 + b"]" * 800 + b"}")
@example(b'{"links": [{"id": "a", "mtu": ' + b"9" * 5000 + b"}]}")
@example(b'{"uuid": "\\ud800", "files": [{"path": "/\\ud800"}]}')
@example(b"\xff\xfe{\x00")
def test_bytes_of_any_kind_give_a_value_or_a_parse_error(
    parse: Callable[[bytes], object], data: bytes
) -> None:
    """Bytes of any kind never raise anything but ParseError."""
    accepted_or_refused(parse, data)


@UNHURRIED
@given(JSON | st.text())
def test_user_data_of_any_shape_gives_a_value_or_a_parse_error(document: object) -> None:
    """What follows the first line may be any JSON (a part of YAML) or any text."""
    text = document if isinstance(document, str) else json.dumps(document)
    accepted_or_refused(configdrive.user_data, f"#cloud-config\n{text}".encode())


def accepted_or_refused(parse: Callable[[bytes], object], data: bytes) -> None:
    """Fail on any error but ParseError."""
    with contextlib.suppress(ParseError):
        parse(data)


# authorized_keys


def test_authorized_keys_keeps_other_lines() -> None:
    """Lines around the block stay, the block is replaced where it stands, or goes."""
    mine = "ssh-rsa AAAA operator\n"
    one = configdrive.authorized_keys(mine, [SSH_KEY]) + "# after\n"
    two = configdrive.authorized_keys(one, ["ssh-rsa BBBB new"])
    assert SSH_KEY in one
    assert two == one.replace(SSH_KEY, "ssh-rsa BBBB new")
    assert configdrive.authorized_keys(two, []) == f"{mine}# after\n"


def test_authorized_keys_never_joins_two_lines() -> None:
    """A last line without an end does not swallow the block."""
    assert "operator\n#" in configdrive.authorized_keys("ssh-rsa AAAA operator", [SSH_KEY])


@UNHURRIED
@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.sampled_from("abc")))
def test_authorized_keys_a_second_time_changes_nothing(existing: str, keys: list[str]) -> None:
    """Applying the same keys again gives the same text."""
    once = configdrive.authorized_keys(existing, keys)
    assert configdrive.authorized_keys(once, keys) == once


# Modes


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/octavia/amphora-agent.conf", 0o600),
        ("/etc/octavia/certs/client_ca.pem", 0o600),
        ("/etc/ssl/other.key", 0o600),
        ("/etc/rsyslog.d/10-rsyslog.conf", 0o644),
        ("/etc/octavia-other/x.conf", 0o644),
    ],
)
def test_file_mode_keeps_keys_from_others(path: str, mode: int) -> None:
    """Everything below /etc/octavia and every key file is for root alone."""
    assert configdrive.file_mode(Path(path)) == mode
