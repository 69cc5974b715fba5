# SPDX-License-Identifier: Apache-2.0
"""`amphoractl amphora` with the real agent: configuration, bundle, log, and who is not answered."""

import io
import json
import stat
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amphora_agent.balancer.redact import HIDDEN
from tests.functional import controller_console
from tests.functional.conftest import Place
from tests.functional.controller_console import ADDRESS, Console
from tests.support import amphoractl, documents
from tests.support.amphoractl import Said

HEARTBEAT_KEY = "a-key-of-heartbeats"
_DEADLINE_S = 30


@pytest.fixture(scope="module")
def agent(place: Place) -> Iterator[Place]:
    """An agent whose configuration has a secret."""
    with place.config_file.open("a") as stream:
        stream.write(
            f"[health_manager]\nheartbeat_key = {HEARTBEAT_KEY}\n"
            "controller_ip_port_list = 192.0.2.1:5555\n"
        )
    process = place.start()
    try:
        place.await_answer()
        yield place
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in place.log.read_text()


@pytest.fixture
def console(agent: Place, tmp_path: Path) -> Console:
    """A controller."""
    return controller_console.make(agent, tmp_path / "certs")


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `rotate` finds it."""
    monkeypatch.setenv("AMPHORA_CA_PASSPHRASE", amphoractl.PASSPHRASE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Something to push, and to put."""
    path = tmp_path / "document.json"
    path.write_text(json.dumps(documents.http()))
    return path


# What goes wrong on the way

# Every command, as it asks one amphora.
_COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "info": lambda _: [ADDRESS],
    "details": lambda _: [ADDRESS],
    "config get": lambda _: [ADDRESS],
    "config put": lambda file: [str(file), ADDRESS],
    "push": lambda file: [str(file), ADDRESS],
    "revisions": lambda _: [ADDRESS],
    "rollback": lambda _: [ADDRESS, "1"],
    "rotate": lambda _: [ADDRESS],
    "bundle": lambda file: [ADDRESS, "-o", str(file.with_suffix(".tar.gz"))],
    "log": lambda _: [ADDRESS],
}


def _wrong_authority(console: Console) -> list[str]:
    console.store.write({console.store.server_chain: console.store.client_chain.read_bytes()})
    # So that `rotate` gets as far as the amphora.
    foreign = console.place.pki.client
    console.store.write(
        {
            console.store.server_certificate: foreign.intermediate.pem(),
            console.store.server_key: amphoractl.encrypted_key(foreign),
        }
    )
    return []


def _stranger(console: Console) -> list[str]:
    console.store.write({console.store.client_bundle: console.place.pki.stranger.read_bytes()})
    return []


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param(_wrong_authority, "the amphora's certificate is refused", id="server-ca"),
        pytest.param(_stranger, "does not know the authority", id="client-ca"),
        pytest.param(
            lambda _: ["--id", str(uuid.UUID(int=7))],
            f"not {uuid.UUID(int=7)}",
            id="other-amphora",
        ),
        pytest.param(lambda _: ["--port", "9444"], "refuses connections", id="agent-down"),
    ],
)
def test_every_command_says_why_it_got_no_answer(
    console: Console,
    file: Path,
    command: str,
    broken: Callable[[Console], list[str]],
    words: str,
) -> None:
    """Each command ends with 3 and the cause, and the agent's files are as before."""
    before = _settled(console.place)
    said = console.amphora(command, *_COMMANDS[command](file), *broken(console))
    assert said.status == 3, said
    assert words in said.err
    assert said.out == ""
    assert _settled(console.place) == before
    assert not file.with_suffix(".tar.gz").exists()


def test_several_amphorae_are_asked_up_to_the_first_that_fails(
    console: Console, tmp_path: Path
) -> None:
    """What was done is told, the one that failed is named, and so is the one not tried."""
    agents = [ADDRESS, "198.18.0.1", "198.18.0.2"]
    said = console.amphora("bundle", *agents, "-o", str(tmp_path), "--json")
    assert said.status == 3
    [done] = json.loads(said.out)
    assert (done["address"], done["id"]) == (ADDRESS, str(console.place.amphora_id))
    assert "198.18.0.1: there is no way to" in said.err
    assert "not tried: 198.18.0.2" in said.err


def test_one_id_cannot_be_that_of_several_amphorae(console: Console, tmp_path: Path) -> None:
    """--id with two addresses is refused before anybody is asked."""
    said = console.amphora("bundle", ADDRESS, "127.0.0.2", "-o", str(tmp_path), "--id", "x")
    assert (said.status, said.out) == (3, "")
    assert "--id is that of one amphora" in said.err


# Bundle and log


def test_bundle_is_saved_for_its_owner_alone(console: Console, tmp_path: Path) -> None:
    """The file is a whole bundle with mode 0600, named after the amphora in a directory."""
    [row] = console.amphora("bundle", ADDRESS, "-o", str(tmp_path), "--json").json
    path = Path(row["file"])
    assert path.parent == tmp_path
    assert path.name.startswith(f"amphora-{console.place.amphora_id}-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == row["bytes"]
    with tarfile.open(path) as archive:
        assert "amphora/health.txt" in archive.getnames()
    named = tmp_path / "mine.tar.gz"
    assert console.amphora("bundle", ADDRESS, "-o", str(named)).out == f"{ADDRESS}: {named}\n"
    assert tarfile.is_tarfile(named)


def test_bundle_that_cannot_be_written_is_told(console: Console, tmp_path: Path) -> None:
    """A directory that is not there is named, and several bundles do not go into one file."""
    missing = tmp_path / "missing" / "x.tar.gz"
    said = console.amphora("bundle", ADDRESS, "-o", str(missing))
    assert said.status == 3
    assert f"{missing} cannot be written" in said.err
    said = console.amphora("bundle", ADDRESS, "127.0.0.2", "-o", str(tmp_path / "x.tar.gz"))
    assert "x.tar.gz is no directory" in said.err
    assert list(tmp_path.glob("*.gz")) == []


def test_log_is_the_end_of_the_journal(console: Console, tmp_path: Path) -> None:
    """The lines are the last ones of what a bundle has as the journal."""
    path = tmp_path / "bundle.tar.gz"
    assert console.amphora("bundle", ADDRESS, "-o", str(path)).status == 0
    whole = _member(path.read_bytes(), "system/journal")
    said = console.amphora("log", ADDRESS, "-n", "1")
    assert said.status == 0, said.err
    # No journal is kept where tests run, or nobody writes to it: then its last line stays the same.
    assert said.out.count("\n") == 1
    assert console.amphora("log", ADDRESS).out.count("\n") == min(100, len(whole.splitlines()))


# The configuration


def test_config_get_shows_all_but_secrets(console: Console) -> None:
    """The file comes as it lies in the amphora, with a mark in the place of the key."""
    said = console.amphora("config get", ADDRESS)
    assert said.status == 0, said.err
    stored = console.place.config_file.read_text()
    assert said.out == stored.replace(HEARTBEAT_KEY, HIDDEN)
    assert HEARTBEAT_KEY in stored


def test_config_put_refuses_a_mark_in_place_of_a_secret(console: Console, tmp_path: Path) -> None:
    """What was read cannot be sent back as it is; the line is named and the agent is not asked."""
    before = console.place.config_file.read_bytes()
    path = tmp_path / "agent.conf"
    path.write_text(console.amphora("config get", ADDRESS).out)
    # Nobody listens there, so what is refused has not been sent.
    said = console.amphora("config put", str(path), ADDRESS, "--port", "9444")
    assert said.status == 3
    assert f"{HIDDEN} stands where a secret belongs; nothing was sent" in said.err
    number = path.read_text().splitlines().index(f"heartbeat_key = {HIDDEN}") + 1
    assert f"line {number}: heartbeat_key = {HIDDEN}" in said.err
    assert console.place.config_file.read_bytes() == before


def test_config_put_takes_effect_at_once(console: Console, tmp_path: Path) -> None:
    """With the key back in its place a changed file is taken, and a live value is live."""
    before = console.place.config_file.read_bytes()
    shown = console.amphora("config get", ADDRESS).out
    path = tmp_path / "agent.conf"
    changed = shown.replace(HIDDEN, HEARTBEAT_KEY)
    path.write_text(f"{changed}[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n")
    assert console.amphora("details", ADDRESS).json["topology"] == "SINGLE"
    try:
        [row] = console.amphora("config put", str(path), ADDRESS, "--json").json
        assert row == {"address": ADDRESS, "file": str(path)}
        assert console.amphora("details", ADDRESS).json["topology"] == "ACTIVE_STANDBY"
        assert console.place.config_file.read_bytes() == path.read_bytes()
    finally:
        path.write_bytes(before)
        assert console.amphora("config put", str(path), ADDRESS).status == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("192.0.2.1:5555", "192.0.2.1"), "right would be ip:port"),
        (("[health_manager]", "[health_manager"), "line "),
    ],
)
def test_config_put_tells_what_the_agent_refuses(
    console: Console, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    """A file that would cut the amphora off is refused in the agent's words, and not stored."""
    before = console.place.config_file.read_text()
    path = tmp_path / "agent.conf"
    path.write_text(before.replace(*change))
    said = console.amphora("config put", str(path), ADDRESS)
    assert said.status == 3
    assert "the amphora refuses it: Invalid configuration" in said.err
    assert words in said.err
    assert console.place.config_file.read_text() == before


def _settled(place: Place) -> dict[str, bytes]:
    """What the agent was given and has stored."""
    kept = [place.config_file, place.server_pem]
    kept += [path for path in place.base.rglob("*") if path.is_file() and path.suffix != ".pid"]
    return {str(path): path.read_bytes() for path in kept}


def _member(packed: bytes, name: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        stream = archive.extractfile(f"amphora/{name}.txt")
        assert stream is not None
        return stream.read().decode()


def test_unknown_command_is_told(console: Console) -> None:
    """A slip of the pen ends with 3 and changes nothing."""
    said: Said = console.amphora("config gett", ADDRESS)
    assert said.status == 3
    assert "No such command" in said.err
