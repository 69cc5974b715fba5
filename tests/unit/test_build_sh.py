# SPDX-License-Identifier: Apache-2.0
"""build.sh: its options, what it would run, where it finds mirrors, and how it fails.

The build itself is tried by the image test; here nothing is downloaded or installed. Where a build
has to begin, a stand-in for the host's Python makes its second stage fail, or last.
"""

import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import need

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build.sh"
MIRRORS = (
    "--mirror=http://mirror.example/debian",
    "--security-mirror=http://mirror.example/debian-security",
)
DEADLINE_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Directories and variables of a build in a test."""

    home: Path
    out: Path
    work: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.work)}

    def run(
        self, *args: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BUILD), *args],
            cwd=self.out,
            env=self.environment | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def leftovers(self) -> list[str]:
        """What a build has left in its directories, log files aside."""
        found = [*self.out.iterdir(), *self.work.iterdir()]
        return sorted(path.name for path in found if path.suffix != ".log")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name in ("home", "out", "work"):
        (tmp_path / name).mkdir()
    return Host(home=tmp_path / "home", out=tmp_path / "out", work=tmp_path / "work")


def plan(host: Host, *args: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a dry run, with its command as COMMAND and its file as RESULT."""
    done = host.run("--dry-run", *MIRRORS, *args, env=env)
    assert done.returncode == 0, done.stderr
    _, environment, command, result = [
        part.split("\n", 1)[-1] for part in f"\n{done.stdout}".split("\n# ")
    ]
    parsed = dict(line.split("=", 1) for line in environment.splitlines())
    return parsed | {"COMMAND": command.strip(), "RESULT": result.splitlines()[0]}


def source(*parts: str) -> str:
    """A shell command that loads parts of build.sh."""
    return "".join(f". '{PROJECT}/image/lib/{part}.sh'; " for part in parts)


# --- the plan ---------------------------------------------------------------------------------


def test_dry_run_shows_the_command_of_the_defaults(host: Host) -> None:
    """Without options the image is Debian 13 for amd64, of the elements in this order."""
    assert plan(host)["COMMAND"] == (
        f"disk-image-create -n -a amd64 -t tar -o {host.work}/amphora-build.XXXXXXXX/root"
        " debian-minimal amphora-base amphora-haproxy amphora-keepalived amphora-agent amphora-log"
        " amphora-ssh"
    )


def test_dry_run_shows_the_environment_of_the_defaults(host: Host) -> None:
    """The builder is told release, kernel, mirrors and elements."""
    shown = plan(host)

    assert shown["DIB_RELEASE"] == "trixie"
    assert shown["DIB_AMPHORA_KERNEL"] == "linux-image-cloud-amd64"
    assert shown["DIB_DISTRIBUTION_MIRROR"] == "http://mirror.example/debian"
    assert shown["DIB_DEBIAN_SECURITY_MIRROR"] == "http://mirror.example/debian-security"
    assert shown["ELEMENTS_PATH"] == str(PROJECT / "elements")
    assert shown["RESULT"] == f"{host.out}/amphora-x64-haproxy.qcow2 (qcow2, 2 GB)"


def test_dry_run_names_only_elements_that_exist(host: Host) -> None:
    """Every element of ours in the command is a folder of elements/, and none is forgotten."""
    words = plan(host, "-r", "secret")["COMMAND"].split()

    named = {word for word in words if word.startswith("amphora-")}
    assert named == {path.name for path in (PROJECT / "elements").iterdir()}


def test_dry_run_is_the_same_twice(host: Host) -> None:
    """Two dry runs with the same options print the same."""
    assert host.run("--dry-run", *MIRRORS).stdout == host.run("--dry-run", *MIRRORS).stdout


def test_dry_run_changes_nothing(host: Host) -> None:
    """A dry run leaves no file, not even a log or a cache."""
    plan(host)

    assert [path for path in host.home.parent.rglob("*") if not path.is_dir()] == []
    assert list(host.home.iterdir()) == []


def test_builder_inherits_nothing_but_proxies(host: Host) -> None:
    """Variables of the caller do not reach the chroot, a proxy does."""
    noise = {"PIP_CERT": "/x", "SSL_CERT_FILE": "/y", "DIB_FOO": "z", "LC_ALL": "de_DE.UTF-8"}

    shown = plan(host, env=noise | {"http_proxy": "http://proxy.example:3128"})

    assert shown.pop("http_proxy") == "http://proxy.example:3128"
    assert shown == plan(host)


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["-k", "linux-image-amd64"], "DIB_AMPHORA_KERNEL", "linux-image-amd64"),
        (["--kernel=linux-image-amd64"], "DIB_AMPHORA_KERNEL", "linux-image-amd64"),
        (["-t", "raw"], "RESULT", "{out}/amphora-x64-haproxy.raw (raw, 2 GB)"),
        (["-s", "5"], "RESULT", "{out}/amphora-x64-haproxy.qcow2 (qcow2, 5 GB)"),
        (["-o", "a.qcow2"], "RESULT", "{out}/a.qcow2 (qcow2, 2 GB)"),
        (["--output", "a", "--type", "vhd"], "RESULT", "{out}/a.vhd (vhd, 2 GB)"),
        (["-w", "{home}"], "TMP_DIR", "{home}/amphora-build.XXXXXXXX"),
        (["-a", "amd64", "-d", "trixie", "-i", "debian-minimal"], "DIB_RELEASE", "trixie"),
    ],
)
def test_option_with_a_value_takes_effect(
    host: Host, args: list[str], key: str, value: str
) -> None:
    """Each option, short or long, changes what it names."""
    places = {"out": host.out, "home": host.home}

    shown = plan(host, *[arg.format(**places) for arg in args])

    assert shown[key] == value.format(**places)


@pytest.mark.parametrize("option", ["-n", "--no-ssh"])
def test_no_ssh_leaves_the_element_out(host: Host, option: str) -> None:
    """Without ssh the command is that of the defaults less the element."""
    assert plan(host, option)["COMMAND"] + " amphora-ssh" == plan(host)["COMMAND"]


@pytest.mark.parametrize("option", ["-x", "--trace"])
def test_trace_is_passed_on(host: Host, option: str) -> None:
    """Tracing is one more option of disk-image-create."""
    assert " -x " in plan(host, option)["COMMAND"]


def test_short_options_can_be_joined(host: Host) -> None:
    """-nx is -n -x."""
    assert plan(host, "-nx") == plan(host, "-n", "-x")


def test_root_password_is_never_shown(host: Host) -> None:
    """The password goes through a file, not through what is printed and logged."""
    done = host.run("--dry-run", *MIRRORS, "-r", "correct horse")

    assert " amphora-root-passwd" in done.stdout
    assert "DIB_AMPHORA_ROOT_PASSWORD_FILE=" in done.stdout
    assert "correct horse" not in done.stdout + done.stderr


def test_mirror_with_tls_brings_its_certificates(host: Host) -> None:
    """Only for an https mirror does the bootstrapped system get certificates."""
    with_tls = plan(host, "--mirror=https://mirror.example/debian")

    assert "ca-certificates" in with_tls["DIB_DEBOOTSTRAP_EXTRA_ARGS"]
    assert "ca-certificates" not in plan(host)["DIB_DEBOOTSTRAP_EXTRA_ARGS"]


def test_mirrors_come_from_the_environment_as_well(host: Host) -> None:
    """The variables stand for the options, which win."""
    env = {
        "DIB_DISTRIBUTION_MIRROR": "http://env.example/debian",
        "DIB_DEBIAN_SECURITY_MIRROR": "http://env.example/security",
    }

    only_env = host.run("--dry-run", env=env)
    both = plan(host, env=env)

    assert "DIB_DISTRIBUTION_MIRROR=http://env.example/debian\n" in only_env.stdout
    assert "DIB_DEBIAN_SECURITY_MIRROR=http://env.example/security\n" in only_env.stdout
    assert both["DIB_DISTRIBUTION_MIRROR"] == "http://mirror.example/debian"


# --- wrong options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["-a", "z80"], "-a must be amd64, not 'z80'"),
        (["-a", "arm64"], "-a arm64 is not available yet"),
        (["-i", "ubuntu-minimal"], "-i ubuntu-minimal is not available yet"),
        (["-i", "beos"], "-i must be debian-minimal, not 'beos'"),
        (["-d", "buster"], "-d must be trixie"),
        (["-k", "vmlinuz; reboot"], "-k must be the name of a kernel package"),
        (["-s", "0"], "-s must be a whole number of GB from 1 to 2048, not '0'"),
        (["-s", "2.5"], "not '2.5'"),
        (["-s", "9999"], "not '9999'"),
        (["-t", "vmdk"], "-t must be qcow2, raw, vhd or tar, not 'vmdk'"),
        (["-o", "/nonexistent/a.qcow2"], "/nonexistent is not a directory"),
        (["-l", "/nonexistent/a.log"], "/nonexistent is not a directory"),
        (["-w", "/nonexistent"], "-w /nonexistent is not a directory"),
        (["-r", ""], "-r needs a password"),
        (["--mirror", "ftp://x/debian"], "--mirror must be an http or https URL"),
        (["-s"], "option -s needs a value: GB"),
        (["--size"], "option --size needs a value: GB"),
        (["--no-ssh=yes"], "option --no-ssh takes no value"),
        (["-z"], "unknown option -z"),
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--s", "2"], "unknown option --s"),
        (["amphora.qcow2"], "unexpected argument 'amphora.qcow2'"),
    ],
)
def test_wrong_option_is_named(host: Host, args: list[str], told: str) -> None:
    """A bad option ends the program with status 2, one message, and nothing done."""
    done = host.run(*MIRRORS, *args)

    assert done.returncode == 2
    assert done.stdout == ""
    assert told in done.stderr
    assert host.leftovers() == []


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["-b", "haproxy"], "-b (--backend)"),
        (["-c", "/tmp"], "-c (--cache-dir)"),
        (["-e"], "-e (--mandatory-access-control)"),
        (["-f"], "-f (--no-tmpfs)"),
        (["-g", "main"], "-g (--git-branch)"),
        (["-m"], "-m (--cpu-pinning)"),
        (["-p"], "-p (--agent-package)"),
        (["-y"], "-y (--fips)"),
        (["--fips"], "-y (--fips)"),
    ],
)
def test_option_of_the_original_tool_is_not_available_yet(
    host: Host, option: list[str], told: str
) -> None:
    """An option that operators know from elsewhere is refused by its name, not ignored."""
    done = host.run(*option)

    assert done.returncode == 2
    assert f"option {told} is not available yet" in done.stderr


def test_help_lists_every_option_that_works(host: Host) -> None:
    """The help has the options that are there and none of those that are not."""
    done = host.run("--help")

    assert done.returncode == 0
    for letter in "adiklnorstwxhv":
        assert f"  -{letter}, --" in done.stdout
    for letter in "bcefgmpy":
        assert f"  -{letter}," not in done.stdout
    assert "--dry-run" in done.stdout


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_version_is_that_of_the_package(host: Host, option: str) -> None:
    """build.sh has no version of its own."""
    from amphora_agent import __version__

    assert host.run(option).stdout == f"build.sh {__version__}\n"


# --- mirrors ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Root:
    """A host's root directory with nothing but its APT configuration."""

    path: Path

    def write(self, name: str, text: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))

    def call(self, function: str) -> subprocess.CompletedProcess[str]:
        script = (
            f"set -euo pipefail; MIRROR=; SECURITY_MIRROR=; {source('messages', 'mirrors')}"
            f'{function} "$1"'
        )
        return subprocess.run(
            ["bash", "-c", script, "bash", str(self.path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def mirrors(self) -> tuple[str, str]:
        done = self.call("host_mirrors")
        assert done.returncode == 0, done.stderr
        mirror, security = done.stdout.splitlines()
        return mirror, security


@pytest.fixture
def debian(tmp_path: Path) -> Root:
    root = Root(tmp_path)
    root.write("etc/os-release", 'ID=debian\nVERSION_CODENAME=bookworm\nNAME="Debian"\n')
    return root


def test_mirrors_are_read_from_one_line_sources(debian: Root) -> None:
    """Options in brackets, comments, other components and sources do not matter."""
    debian.write(
        "etc/apt/sources.list",
        """\
        # deb http://old.example/debian bookworm main
        deb-src http://source.example/debian bookworm main
        deb [arch=amd64 signed-by=/x.gpg] http://one.example/debian/ bookworm main contrib # ours
        deb http://one.example/debian bookworm-updates main
        deb http://one.example/debian-security bookworm-security main
        """,
    )

    assert debian.mirrors() == (
        "http://one.example/debian",
        "http://one.example/debian-security",
    )


def test_mirrors_are_read_from_deb822_sources(debian: Root) -> None:
    """Continued lines, comments and several suites in a stanza are understood."""
    debian.write(
        "etc/apt/sources.list.d/debian.sources",
        """\
        Types: deb deb-src
        # a comment within
        URIs: https://two.example/debian
        Suites: bookworm
         bookworm-updates
        Components: main contrib
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

        Types: deb
        uris: https://two.example/security/
        Suites: bookworm-security
        Components: main
        """,
    )

    assert debian.mirrors() == ("https://two.example/debian", "https://two.example/security")


def test_disabled_stanza_is_no_mirror(debian: Root) -> None:
    """Enabled: no hides a stanza."""
    debian.write(
        "etc/apt/sources.list.d/a.sources",
        """\
        Types: deb
        URIs: http://off.example/debian
        Suites: bookworm bookworm-security
        Components: main
        Enabled: no
        """,
    )

    assert debian.mirrors() == ("", "")


def test_archive_of_another_vendor_is_no_mirror(debian: Root) -> None:
    """An archive that is called after the release too is passed over for one called debian."""
    debian.write(
        "etc/apt/sources.list.d/a-vendor.list",
        "deb http://vendor.example/debian/12/prod bookworm main\n"
        "deb http://containers.example/linux/debian bookworm stable\n",
    )
    debian.write("etc/apt/sources.list", "deb http://ours.example/pub/debian bookworm main\n")
    debian.write(
        "etc/apt/sources.list.d/z.list", "deb http://ours.example/sec bookworm-security main\n"
    )

    assert debian.mirrors() == ("http://ours.example/pub/debian", "http://ours.example/sec")


def test_mirror_list_is_followed(debian: Root) -> None:
    """mirror+file, as in Debian's own cloud images, means the first entry of the list."""
    debian.write("etc/apt/mirrors/debian.list", "# nearest first\nhttps://three.example/debian\n")
    debian.write("etc/apt/mirrors/security.list", "https://three.example/sec\tpriority:1\n")
    debian.write(
        "etc/apt/sources.list",
        "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n"
        "deb mirror+file:///etc/apt/mirrors/security.list bookworm-security main\n",
    )

    assert debian.mirrors() == ("https://three.example/debian", "https://three.example/sec")


def test_mirror_that_a_chroot_cannot_reach_is_none(debian: Root) -> None:
    """CDs and local directories are passed over."""
    debian.write(
        "etc/apt/sources.list",
        "deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/debian bookworm main\n",
    )

    assert debian.mirrors() == ("", "")


def test_mirror_of_another_distribution_is_none(debian: Root) -> None:
    """On a host that is not Debian its archives are of no use."""
    debian.write("etc/os-release", "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n")
    debian.write("etc/apt/sources.list", "deb http://archive.example/ubuntu noble main\n")

    assert debian.mirrors() == ("", "")


def test_missing_mirror_is_an_error_that_tells_how_to_give_it(debian: Root) -> None:
    """Where only the security mirror is unknown, only its option is asked for."""
    debian.write("etc/apt/sources.list", "deb http://one.example/debian bookworm main\n")

    done = debian.call("choose_mirrors")

    assert done.returncode == 2
    assert "names no Debian mirror for --security-mirror" in done.stderr
    assert "--mirror " not in done.stderr


# --- failures ---------------------------------------------------------------------------------


@pytest.fixture
def ready_host(host: Host) -> Host:
    """A host on which the first stage of a build passes without installing anything."""
    need.root()
    script = source("messages", "mirrors", "host") + 'missing_packages debian "$BUILD_NEEDS"'
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    if done.stdout:
        need.missing(f"packages not installed: {', '.join(done.stdout.split())}")
    return host


def stand_in_python(host: Host, body: str) -> dict[str, str]:
    """Variables that make build.sh use a Python that cannot make a virtual environment."""
    program = host.home / "python3"
    program.write_text(
        textwrap.dedent(
            f"""\
            #!/bin/bash
            [[ $* == *'-m venv'* ]] || exec python3 "$@"
            {body}
            """
        )
    )
    program.chmod(0o755)
    return {"PYTHON": str(program)}


@pytest.fixture
def waiting_build(ready_host: Host) -> Iterator[subprocess.Popen[str]]:
    """A build that is in its second stage until it is told to stop."""
    env = stand_in_python(ready_host, f"touch {ready_host.home}/started; exec sleep 60")
    process = subprocess.Popen(
        # Under nohup or a service manager the tests may run with signals ignored, and bash cannot
        # trap a signal that was ignored when it started.
        ["env", "--default-signal", str(BUILD), *MIRRORS],
        cwd=ready_host.out,
        env=ready_host.environment | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + DEADLINE_S
    while not (ready_host.home / "started").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the build does not reach its second stage"
        time.sleep(0.05)
    yield process
    process.terminate()
    process.communicate(timeout=DEADLINE_S)


def test_failed_stage_is_reported(ready_host: Host) -> None:
    """The report has the stage, the last lines, the log's path and a hint."""
    env = stand_in_python(ready_host, "echo 'pip: No space left on device' >&2; exit 7")

    done = ready_host.run(*MIRRORS, env=env)

    assert done.returncode == 7
    assert 'stage "image builder" failed' in done.stderr
    assert "    pip: No space left on device\n" in done.stderr
    assert f"Log:  {ready_host.out}/amphora-x64-haproxy.log\n" in done.stderr
    assert "Hint: free some space" in done.stderr
    assert "host programs" in done.stdout


def test_failed_build_leaves_nothing(ready_host: Host) -> None:
    """Neither a half-made image nor temporary files stay, and an older image is untouched."""
    image = ready_host.out / "amphora-x64-haproxy.qcow2"
    image.write_text("the last good one")

    done = ready_host.run(*MIRRORS, env=stand_in_python(ready_host, "exit 1"))

    assert done.returncode == 1
    assert ready_host.leftovers() == [image.name]
    assert image.read_text() == "the last good one"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signal_ends_a_build_cleanly(
    ready_host: Host, waiting_build: subprocess.Popen[str], number: signal.Signals, status: int
) -> None:
    """A signal ends what runs, at once, and nothing is left behind."""
    waiting_build.send_signal(number)
    _, stderr = waiting_build.communicate(timeout=DEADLINE_S)

    assert waiting_build.returncode == status
    assert f'interrupted by {number.name} in stage "image builder"' in stderr
    assert ready_host.leftovers() == []


def test_second_build_of_the_same_image_is_refused(
    ready_host: Host, waiting_build: subprocess.Popen[str]
) -> None:
    """Of two builds with one output the second ends at once; another output is free."""
    second = ready_host.run(*MIRRORS)
    # Its own cache, because builds wait for one another while they install the builder.
    env = stand_in_python(ready_host, "exit 3") | {"XDG_CACHE_HOME": str(ready_host.home / "other")}
    other = ready_host.run(*MIRRORS, "-o", "other.qcow2", env=env)

    assert second.returncode == 1
    assert "another build is making" in second.stderr
    assert other.returncode == 3
    assert waiting_build.poll() is None


def test_missing_programs_are_reported_together() -> None:
    """Everything that a host lacks is found in one go, by the names of its packages."""
    script = source("messages", "mirrors", "host") + textwrap.dedent(
        """\
        command() { [[ $2 != debootstrap && $2 != mke2fs ]]; }
        has_grub_modules() { false; }
        missing_packages debian "$BUILD_NEEDS" | tr '\\n' ' '
        missing_packages fedora "$BUILD_NEEDS" | tr '\\n' ' '
        """
    )
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )

    for name in ("debootstrap", "e2fsprogs", "grub-pc-bin", "grub2-pc-modules"):
        assert name in done.stdout.split()
