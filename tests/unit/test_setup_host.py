# SPDX-License-Identifier: Apache-2.0
"""Steps that need no cloud: certificates and their owner; octavia.conf that is put back."""

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest
import yaml

from amphora_controller import cli, octavia_file
from tests.support import need
from tests.support.sites import document


def site_file(directory: Path, owner: str) -> Path:
    """A site whose certificates are quickly made."""
    whole = document()
    whole["certificates"] |= {"directory": str(directory / "certs"), "key": "ecdsa-p256"}
    whole["octavia"] = {"conf": str(directory / "octavia.conf"), "owner": owner}
    path = directory / "site.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def test_certificates_are_made_once_and_given_back_to_their_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They belong to the site's owner; a file that was given to another is given back, no more."""
    need.root()
    user, group = pwd.getpwnam("nobody"), grp.getgrnam("daemon")
    path = site_file(tmp_path, f"{user.pw_name}:{group.gr_name}")
    arguments = ["setup", "certs", "-s", str(path), "--controller", "ctl1"]
    assert cli.main(arguments) == 0
    files = sorted(path for path in (tmp_path / "certs").iterdir() if path.is_file())
    before = {path: path.read_bytes() for path in files}
    assert len(files) == 5
    assert {(path.stat().st_uid, path.stat().st_gid) for path in files} == {
        (user.pw_uid, group.gr_gid)
    }
    capsys.readouterr()
    os.chown(files[0], 0, 0)
    assert cli.main(arguments) == 0
    assert f"give {files[0]} to nobody:daemon" in capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.endswith("nothing to do\n")
    assert {path: path.read_bytes() for path in files} == before


def test_certificates_made_by_others_are_used_and_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Certificates that setup did not make are as they should be, and no teardown removes them."""
    path = site_file(tmp_path, "")
    arguments = ["-s", str(path), "--controller", "ctl1"]
    assert cli.main(["setup", "certs", *arguments]) == 0
    (tmp_path / "certs" / "private" / "amphoractl").unlink()
    capsys.readouterr()
    assert cli.main(["setup", "certs", *arguments]) == 0
    assert capsys.readouterr().out.endswith("nothing to do\n")
    assert cli.main(["teardown", "certs", "--yes", "--certificates", *arguments]) == 0
    assert (tmp_path / "certs" / "server_ca.key.pem").exists()


def test_file_of_others_comes_back(tmp_path: Path) -> None:
    """What was there first is kept through any number of changes, and put back readable."""
    path = tmp_path / "octavia.conf"
    path.write_text("[DEFAULT]\n")
    path.chmod(0o640)
    first, second = (f"# Made by amphoractl from site.yaml;\n[a]\nb = {n}\n" for n in (1, 2))
    octavia_file.replace(path, first, "")
    octavia_file.replace(path, second, "")
    assert path.read_text() == second
    assert path.with_name("octavia.conf.before").read_text() == first
    kept = octavia_file.original(path)
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("[DEFAULT]\n", 0o600)
    octavia_file.restore(path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("[DEFAULT]\n", 0o640)
    assert [each.name for each in tmp_path.iterdir()] == ["octavia.conf"]


def test_file_that_was_not_there_goes(tmp_path: Path) -> None:
    """Without a file of others nothing is left."""
    path = tmp_path / "octavia.conf"
    octavia_file.replace(path, "# Made by amphoractl from site.yaml;\n", "")
    octavia_file.restore(path)
    assert list(tmp_path.iterdir()) == []
