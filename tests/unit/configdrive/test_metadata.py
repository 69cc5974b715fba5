# SPDX-License-Identifier: Apache-2.0
"""meta_data.json, good and odd."""

from pathlib import Path

import pytest

from amphora_agent.configdrive.metadata import FileReference, MetaData, meta_data
from tests.unit.configdrive.documents import (
    SSH_KEY,
    as_bytes,
)


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
    meta = meta_data(as_bytes(document))
    assert meta == MetaData(
        instance_id="a1b2c3d4-0000-4000-8000-000000000001",
        hostname="amphora-1",
        public_keys=(SSH_KEY,),
        files=(
            FileReference(
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
    meta = meta_data(as_bytes({"uuid": "u", "files": files}))
    assert [file.path for file in meta.files] == [Path("/etc/good")]
    [problem] = meta.problems
    assert problem.startswith("files[0]: ")
    assert "path" in problem


@pytest.mark.parametrize("content", ["/content/../latest/x", "content/0000", "/content/", 7, None])
def test_meta_data_content_path_outside_content_is_refused(content: object) -> None:
    """A content path cannot name anything but a file in openstack/content."""
    document = {"uuid": "u", "files": [{"content_path": content, "path": "/etc/x"}]}
    meta = meta_data(as_bytes(document))
    assert meta.files == ()
    assert len(meta.problems) == 1


@pytest.mark.parametrize(
    ("name", "hostname"), [("a", "a"), ("A-1.b_c", "A-1"), ("a" * 63, "a" * 63)]
)
def test_meta_data_host_name_loses_its_domain(name: str, hostname: str) -> None:
    """What comes before the first dot is the host's name."""
    assert meta_data(as_bytes({"uuid": "u", "name": name})).hostname == hostname


@pytest.mark.parametrize("name", ["-a", "a_b", "a" * 64, ".a", "a b", "é", 5, ["a"]])
def test_meta_data_bad_host_name_is_a_problem(name: object) -> None:
    """A name that no host may have is told and left out; the rest is read."""
    meta = meta_data(as_bytes({"uuid": "u", "hostname": name}))
    assert (meta.hostname, meta.instance_id) == (None, "u")
    assert "hostname" in meta.problems[0]


@pytest.mark.parametrize(
    "key",
    ["", "not a key", "ssh-rsa", "-----BEGIN CERTIFICATE-----", f"{SSH_KEY}\x1b[0m", 7, None],
)
def test_meta_data_text_that_is_no_key_is_a_problem(key: object) -> None:
    """A key that sshd would not read is told by its name; the good one beside it stays."""
    document = {"uuid": "u", "public_keys": {"bad": key, "good": SSH_KEY}}
    meta = meta_data(as_bytes(document))
    assert meta.public_keys == (SSH_KEY,)
    assert "'bad'" in meta.problems[0]


def test_meta_data_without_uuid_is_a_problem() -> None:
    """The id is what makes a first boot; its absence is told."""
    meta = meta_data(b"{}")
    assert meta.instance_id is None
    assert "uuid" in meta.problems[0]
