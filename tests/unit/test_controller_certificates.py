# SPDX-License-Identifier: Apache-2.0
"""The control plane's certificates: made, checked, renewed, rolled."""

import datetime
import json
import re
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from amphora_controller import cli
from amphora_controller.certificates import check, issue, lifecycle, store
from amphora_controller.certificates.check import Limits, Severity
from amphora_controller.certificates.issue import KeyKind, Purpose, Recipe, Subject
from amphora_controller.certificates.lifecycle import Lifetimes, Step
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError

NOW = datetime.datetime.now(datetime.UTC)
RECIPE = Recipe(kind=KeyKind.ECDSA_P256, subject=Subject(country="CH"), now=NOW)
PASSPHRASE = "a long one"


@pytest.fixture
def made(tmp_path: Path) -> Store:
    """A complete set."""
    target = Store(directory=tmp_path / "certs")
    assert lifecycle.create(target, RECIPE, Lifetimes(), PASSPHRASE)
    return target


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the command finds it."""
    monkeypatch.setenv("AMPHORA_CA_PASSPHRASE", PASSPHRASE)


def contents(target: Store) -> dict[str, bytes]:
    """Every file below the directory."""
    return {
        str(path.relative_to(target.directory)): path.read_bytes()
        for path in target.directory.rglob("*")
        if path.is_file()
    }


def severity(target: Store, *, now: datetime.datetime = NOW) -> Severity:
    """The verdict of a check."""
    return check.worst(check.findings(target, now=now, limits=Limits(), passphrase=PASSPHRASE))


def openssl_accepts(ca: Path, certificate: Path, purpose: str) -> bool:
    """Whether OpenSSL, read strictly, takes the first certificate of a file."""
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, certificate],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.mark.parametrize("kind", KeyKind)
def test_created_set_is_what_openssl_takes_strictly(tmp_path: Path, kind: KeyKind) -> None:
    """Both chains hold when read strictly, with each kind of key, and do not mix."""
    target = Store(directory=tmp_path)
    recipe = Recipe(kind=kind, subject=Subject(), now=NOW)
    lifecycle.create(target, recipe, Lifetimes(), PASSPHRASE)
    assert openssl_accepts(target.client_chain, target.client_bundle, "sslclient")
    assert openssl_accepts(target.server_chain, target.server_certificate, "any")
    assert not openssl_accepts(target.server_chain, target.client_bundle, "sslclient")
    assert not openssl_accepts(target.client_chain, target.client_bundle, "sslserver")


def test_create_again_changes_nothing(made: Store) -> None:
    """A second run leaves every byte, and says so."""
    before = contents(made)
    assert not lifecycle.create(made, RECIPE, Lifetimes(), PASSPHRASE)
    assert contents(made) == before


def test_create_beside_a_part_of_a_set_is_refused(made: Store) -> None:
    """With one file missing nothing is written, and the missing one is named."""
    made.client_chain.unlink()
    before = contents(made)
    with pytest.raises(ControllerError, match=re.escape("client_ca.cert.pem is missing")):
        lifecycle.create(made, RECIPE, Lifetimes(), PASSPHRASE)
    assert contents(made) == before


class _BrokenOff(Exception):
    pass


class _Breaking(Store):
    """A store whose process dies after some files."""

    files_left = 0

    def write(self, contents: dict[Path, bytes]) -> None:
        for path, data in contents.items():
            if _Breaking.files_left == 0:
                raise _BrokenOff
            _Breaking.files_left -= 1
            super().write({path: data})


@pytest.mark.parametrize("files", range(11))
def test_create_that_was_broken_off_can_be_run_again(tmp_path: Path, files: int) -> None:
    """However many files a broken-off run has left, the next one makes a whole set."""
    _Breaking.files_left = files
    with pytest.raises(_BrokenOff):
        lifecycle.create(_Breaking(directory=tmp_path), RECIPE, Lifetimes(), PASSPHRASE)
    whole = Store(directory=tmp_path)
    assert lifecycle.create(whole, RECIPE, Lifetimes(), PASSPHRASE)
    assert severity(whole) is Severity.OK
    assert not (tmp_path / "private" / "unfinished").exists()


def test_keys_are_for_the_owner_and_authorities_encrypted(made: Store) -> None:
    """No key is readable by others, and none of an authority without the passphrase."""
    keys = [path for path in made.all_files if b"PRIVATE KEY" in path.read_bytes()]
    assert len(keys) == 5
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in set(keys) - {made.client_bundle}:
        for wrong in (None, "another"):
            with pytest.raises(ControllerError, match="cannot be read"):
                store.read_key(path, wrong)
        store.read_key(path, PASSPHRASE)
    store.read_key(made.client_bundle, None)


def test_fresh_set_has_no_faults(made: Store) -> None:
    """A check of what was just made finds nothing."""
    assert severity(made) is Severity.OK


@pytest.mark.parametrize(
    ("days", "verdict"),
    [(1700, Severity.OK), (1800, Severity.WARNING), (1820, Severity.CRITICAL), (1900, 2)],
)
def test_expiry_is_told_in_time(made: Store, days: int, verdict: Severity) -> None:
    """Thirty days before the end there is a warning, seven days before and after it more."""
    assert severity(made, now=NOW + datetime.timedelta(days=days)) is Severity(verdict)


def test_certificate_that_is_not_yet_valid_is_told(made: Store) -> None:
    """A clock that is a day behind shows."""
    assert severity(made, now=NOW - datetime.timedelta(days=1)) is Severity.CRITICAL


def _another(made: Store) -> Store:
    other = Store(directory=made.directory.with_name("other"))
    lifecycle.create(other, RECIPE, Lifetimes(), PASSPHRASE)
    return other


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("client.cert-and-key.pem", "amphorae would refuse every controller"),
        ("client_ca.cert.pem", "amphorae would refuse every controller"),
        ("server_ca.cert.pem", "controllers would refuse every new amphora"),
        ("server_ca-chain.cert.pem", "controllers would refuse every new amphora"),
        ("server_ca.key.pem", "is not that of the certificate"),
    ],
)
def test_file_of_another_set_is_told(made: Store, name: str, words: str) -> None:
    """A file that belongs to other ones is critical, and the finding says what it would break."""
    path = made.directory / name
    path.chmod(0o600)
    path.write_bytes((_another(made).directory / name).read_bytes())
    found = check.findings(made, now=NOW, limits=Limits(), passphrase=PASSPHRASE)
    assert any(
        finding.severity is Severity.CRITICAL and words in finding.message for finding in found
    ), found


@pytest.mark.parametrize("broken", [b"", b"nonsense", None])
def test_unreadable_file_is_told(made: Store, broken: bytes | None) -> None:
    """A file that is missing or holds no certificate is named."""
    if broken is None:
        made.client_chain.unlink()
    else:
        made.client_chain.chmod(0o600)
        made.client_chain.write_bytes(broken)
    found = check.findings(made, now=NOW, limits=Limits(), passphrase=PASSPHRASE)
    assert any(finding.subject == str(made.client_chain) for finding in found)
    assert check.worst(found) is Severity.CRITICAL


def test_one_authority_for_both_sides_is_told(made: Store) -> None:
    """A deployment whose amphorae could act as controllers is critical."""
    made.client_chain.chmod(0o600)
    with made.client_chain.open("ab") as stream:
        stream.write(made.server_chain.read_bytes())
    assert severity(made) is Severity.CRITICAL


def test_key_that_others_can_read_is_a_warning(made: Store) -> None:
    """A bundle with mode 0644 is told of."""
    made.client_bundle.chmod(0o644)
    assert severity(made) is Severity.WARNING


def test_renewed_bundle_is_signed_by_the_authority_in_use(made: Store) -> None:
    """A renewal changes the bundle alone, and amphorae take it."""
    before = contents(made)
    lifecycle.renew_controller(made, RECIPE, Lifetimes(), PASSPHRASE)
    changed = {name for name, data in contents(made).items() if before[name] != data}
    assert changed == {"client.cert-and-key.pem"}
    assert openssl_accepts(made.client_chain, made.client_bundle, "sslclient")


def test_renewal_with_a_wrong_passphrase_changes_nothing(made: Store) -> None:
    """The error names the key's file, and the bundle in use stays."""
    before = contents(made)
    with pytest.raises(ControllerError, match=re.escape("client_ca.key.pem")):
        lifecycle.renew_controller(made, RECIPE, Lifetimes(), "wrong")
    assert contents(made) == before


def _roll(made: Store, purpose: Purpose, step: Step) -> bool:
    return lifecycle.roll(
        made, purpose, step, recipe=RECIPE, lifetimes=Lifetimes(), passphrase=PASSPHRASE
    )


@pytest.mark.parametrize("purpose", Purpose)
def test_roll_leaves_no_gap(made: Store, purpose: Purpose) -> None:
    """After each step the set is without faults, and each side trusts what the other one shows."""
    old = Store(directory=made.directory.with_name("old"))
    old.write({old.directory / name: data for name, data in contents(made).items()})
    for step in Step:
        assert _roll(made, purpose, step)
        assert severity(made) is Severity.OK, step
        assert not _roll(made, purpose, step), "a step that is repeated changes nothing"
        trusts_old = step is not Step.FINISH
        if purpose is Purpose.CLIENT:
            assert openssl_accepts(made.client_chain, made.client_bundle, "sslclient")
            assert openssl_accepts(made.client_chain, old.client_bundle, "sslclient") is trusts_old
        else:
            assert openssl_accepts(made.server_chain, made.server_certificate, "any")
            assert openssl_accepts(made.server_chain, old.server_certificate, "any") is trusts_old


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("step", [Step.USE])
def test_roll_out_of_order_is_refused(made: Store, purpose: Purpose, step: Step) -> None:
    """A step before the one that it needs changes nothing and names the other one."""
    before = contents(made)
    with pytest.raises(ControllerError, match="begin comes first"):
        _roll(made, purpose, step)
    assert contents(made) == before


def test_finish_while_the_old_authority_signs_is_refused(made: Store) -> None:
    """The old authority stays trusted as long as it signs."""
    _roll(made, Purpose.SERVER, Step.BEGIN)
    with pytest.raises(ControllerError, match="use comes first"):
        _roll(made, Purpose.SERVER, Step.FINISH)
    assert len(store.read_certificates(made.server_chain)) == 4


def test_subject_survives_a_renewal(made: Store) -> None:
    """A new certificate has the organisation of those in use."""
    lifecycle.renew_controller(
        made,
        Recipe(kind=KeyKind.ECDSA_P256, subject=lifecycle.subject(made), now=NOW),
        Lifetimes(),
        PASSPHRASE,
    )
    subject = store.read_certificates(made.client_bundle)[0].subject.rfc4514_string()
    assert subject == "CN=OctaviaController,OU=Octavia,O=OpenStack,C=CH"


def test_authority_signs_no_authority() -> None:
    """An intermediate's path length is 0, and it may not be an end's certificate."""
    root = issue.root(Purpose.SERVER, RECIPE, days=10)
    signer = issue.intermediate(Purpose.SERVER, RECIPE, days=5, issuer=root)
    constraints = signer.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert constraints.value.path_length == 0


# The command


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """A set made by the command."""
    path = str(tmp_path / "etc" / "certs")
    assert cli.main(["certs", "create", "-d", path, "--key", "ecdsa-p256"]) == 0
    return path


def test_command_checks_what_it_made(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The check of a new set ends with 0 and gives the days left as JSON."""
    capsys.readouterr()
    assert cli.main(["certs", "check", "-d", directory, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["severity"] for row in rows} == {"OK"}
    assert min(row["days_left"] for row in rows) == 1824


def test_command_exits_as_monitoring_expects(directory: str) -> None:
    """1 for a warning and 2 for what is critical."""
    limits = ["--warning-days", "2000"]
    assert cli.main(["certs", "check", "-d", directory, *limits]) == 1
    assert cli.main(["certs", "check", "-d", directory, *limits, "--critical-days", "2000"]) == 2


def test_command_writes_a_text_file_for_prometheus(directory: str, tmp_path: Path) -> None:
    """Each certificate has its days left there."""
    target = tmp_path / "octavia.prom"
    assert cli.main(["certs", "check", "-d", directory, "--prometheus-file", str(target)]) == 0
    values = re.findall(
        r'^octavia_certificate_days_left\{certificate=".+"\} (\d+)$', target.read_text(), re.M
    )
    assert len(values) == 6
    assert "octavia_certificates_severity 0\n" in target.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--passphrase-file", "/does/not/exist"], "/does/not/exist"),
        (["create", "--controller-days", "9999"], "must not outlive"),
        (["create", "--country", "Switzerland"], "subject"),
        (["create", "--owner", "nobody-of-that-name:x"], "no such user"),
        (["renew"], "server_ca.cert.pem"),
        (["roll-ca", "server", "begin"], "server_ca.cert.pem"),
    ],
)
def test_command_refuses_with_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """What cannot be done ends with 3, names the thing and writes nothing."""
    directory = tmp_path / "certs"
    assert cli.main(["certs", *arguments, "-d", str(directory)]) == 3
    assert words in capsys.readouterr().err
    assert not directory.exists()


def test_command_without_a_passphrase_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys of authorities are never written unencrypted."""
    monkeypatch.delenv("AMPHORA_CA_PASSPHRASE")
    assert cli.main(["certs", "create", "-d", str(tmp_path / "certs")]) == 3
    assert "--passphrase-file" in capsys.readouterr().err
