# SPDX-License-Identifier: Apache-2.0
"""What the image test boots an amphora with: certificates, config drive, accelerator."""

import json
import ssl
import subprocess
import uuid
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path, PurePosixPath

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support import accelerator, configdrive, need, pki
from tests.support.accelerator import Accelerator

AMPHORA_ID = uuid.UUID("a1b2c3d4-0000-4000-8000-000000000001")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.create(tmp_path_factory.mktemp("pki"))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Let both sides talk through memory until each is content.

    Raises:
        ssl.SSLError: one of them is not.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server),
    ]
    for _flight in range(3):
        for side in reversed(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def contexts(
    made: pki.Pki, directory: Path, identity: Path | None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Amphora and client with the strict verification that Python 3.13 has by default."""
    server_pem = directory / "server.pem"
    server_pem.write_bytes(made.amphora_pem(AMPHORA_ID))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.client_chain))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(server_pem)
    client = ssl.create_default_context(cafile=str(made.server_chain))
    client.check_hostname = False
    if identity:
        client.load_cert_chain(identity)
    for context in (server, client):
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return server, client


def test_controller_and_amphora_accept_each_other(made: pki.Pki, tmp_path: Path) -> None:
    """Under strict verification the controller's certificate opens a session with the amphora."""
    handshake(*contexts(made, tmp_path, made.controller))


def test_amphora_refuses_strangers(made: pki.Pki, tmp_path: Path) -> None:
    """A certificate of another authority, of the server authority, or none is refused."""
    server_side = tmp_path / "other.pem"
    server_side.write_bytes(made.amphora_pem(uuid.uuid4()))
    for identity in (made.stranger, server_side, None):
        with pytest.raises(ssl.SSLError):
            handshake(*contexts(made, tmp_path, identity))


def test_amphora_certificate_names_its_uuid_and_the_key_follows(made: pki.Pki) -> None:
    """server.pem is the leaf, whose only name is the UUID, then a key in PKCS#1, and no more."""
    pem = made.amphora_pem(AMPHORA_ID)
    begins = [line for line in pem.decode().splitlines() if line.startswith("-----BEGIN")]
    assert begins == ["-----BEGIN CERTIFICATE-----", "-----BEGIN RSA PRIVATE KEY-----"]
    leaf = x509.load_pem_x509_certificate(pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [str(AMPHORA_ID)]
    key = serialization.load_pem_private_key(pem, None)
    assert key.public_key() == leaf.public_key()


def test_secrets_are_readable_by_their_owner_only(made: pki.Pki) -> None:
    """Bundles with a key have mode 0600."""
    for path in (made.controller, made.stranger):
        assert path.stat().st_mode & 0o777 == 0o600


def drive() -> configdrive.ConfigDrive:
    return configdrive.ConfigDrive(
        instance_id=uuid.uuid4(),
        name=f"amphora-{AMPHORA_ID}",
        ports=(
            configdrive.StaticPort(
                port_id=uuid.UUID("11111111-2222-4333-8444-555555555555"),
                network_id=uuid.uuid4(),
                mac="fa:16:3e:00:00:01",
                address=IPv4Interface("192.0.2.10/24"),
                mtu=1450,
            ),
            configdrive.StaticPort(
                port_id=uuid.uuid4(),
                network_id=uuid.uuid4(),
                mac="fa:16:3e:00:00:03",
                address=IPv6Interface("2001:db8::10/64"),
                mtu=1450,
            ),
        ),
        files={
            PurePosixPath("/etc/octavia/amphora-agent.conf"): b"\n[DEFAULT]\n",
            PurePosixPath("/etc/rsyslog.d/10-rsyslog.conf"): b"",
        },
        public_keys={"octavia_ssh_key": "ssh-rsa AAAA octavia_ssh_key"},
        user_data="#cloud-config\n",
    )


def test_config_drive_maps_numbered_contents_to_paths() -> None:
    """Every injected file, an empty one too, is found by the path in meta_data.json."""
    content = configdrive.tree(drive())
    meta = json.loads(content[PurePosixPath("openstack/latest/meta_data.json")])
    found = {
        PurePosixPath(entry["path"]): content[PurePosixPath(f"openstack{entry['content_path']}")]
        for entry in meta["files"]
    }
    assert found == drive().files
    assert meta["hostname"] == f"amphora-{AMPHORA_ID}.novalocal"
    assert meta["public_keys"] == drive().public_keys


def test_config_drive_has_no_gateway_and_no_dhcp() -> None:
    """The network data gives address and netmask, no route, no DHCP, and the MTU of the link."""
    network = json.loads(
        configdrive.tree(drive())[PurePosixPath("openstack/latest/network_data.json")]
    )
    assert [item["type"] for item in network["networks"]] == ["ipv4", "ipv6"]
    assert [item["netmask"] for item in network["networks"]] == [
        "255.255.255.0",
        "ffff:ffff:ffff:ffff::",
    ]
    assert all(item["routes"] == [] for item in network["networks"])
    assert network["links"][0]["id"] == "tap11111111-22"
    assert [item["link"] for item in network["networks"]] == [
        item["id"] for item in network["links"]
    ]
    assert {item["mtu"] for item in network["links"]} == {1450}


def test_config_drive_is_an_iso_with_its_label(tmp_path: Path) -> None:
    """The image is an ISO 9660 volume named config-2 that holds every file under its own name."""
    need.programs("xorriso")
    iso = tmp_path / "drive.iso"
    configdrive.write_iso(drive(), iso)
    descriptor = iso.read_bytes()[16 * 2048 : 17 * 2048]
    assert descriptor[1:6] == b"CD001"
    assert descriptor[40:72].rstrip() == b"config-2"
    listing = subprocess.run(
        ["xorriso", "-indev", str(iso), "-find", "/", "-type", "f"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    for name in configdrive.tree(drive()):
        assert f"'/{name}'" in listing


def test_virtualisation_is_read_from_the_flags_alone() -> None:
    """Only the flag vmx or svm counts; a model name or another flag that contains it does not."""
    intel = "model name\t: X\nflags\t\t: fpu vmx sse\n"
    amd = "flags\t\t: fpu svm\n"
    guest = "model name\t: svm vmx\nflags\t\t: fpu svm_lock hypervisor\n"
    assert [accelerator.has_virtualisation(text) for text in (intel, amd, guest, "")] == [
        True,
        True,
        False,
        False,
    ]


def test_accelerator_is_what_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """AMPHORA_QEMU_ACCEL wins over every probe; a word that is no accelerator is refused."""
    monkeypatch.setenv("AMPHORA_QEMU_ACCEL", "kvm")
    assert accelerator.choose() is Accelerator.KVM
    monkeypatch.setenv("AMPHORA_QEMU_ACCEL", "hvf")
    with pytest.raises(ValueError, match="AMPHORA_QEMU_ACCEL=hvf: use kvm or tcg"):
        accelerator.choose()


def test_tiny_guest_ends_under_emulation() -> None:
    """The probe's boot sector runs to its end in a working accelerator."""
    need.programs("qemu-system-x86_64")
    assert accelerator.boots(Accelerator.TCG)
