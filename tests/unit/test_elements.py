# SPDX-License-Identifier: Apache-2.0
"""The elements: rules of diskimage-builder's own lint, units that systemd understands, and names
that several files have to agree on.
"""

import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from amphora_agent import layout
from tests.support import need

PROJECT = Path(__file__).resolve().parents[2]
ELEMENTS = PROJECT / "elements"
PHASES = {
    "root.d": "outside",
    "extra-data.d": "outside",
    "pre-install.d": "inside",
    "install.d": "inside",
    "post-install.d": "inside",
    "block-device.d": "outside",
    "finalise.d": "inside",
    "cleanup.d": "outside",
}
UNIT_DIR = "static/usr/lib/systemd/system"
UNITS = sorted(ELEMENTS.glob(f"*/{UNIT_DIR}/*"))
LB_ID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
DEADLINE_S = 30.0


def named(paths: list[Path]) -> list[object]:
    """Parameters with readable ids."""
    return [pytest.param(path, id=str(path.relative_to(ELEMENTS))) for path in paths]


def all_files() -> list[Path]:
    return sorted(path for path in ELEMENTS.rglob("*") if path.is_file() and not path.is_symlink())


def hooks() -> list[Path]:
    return [path for path in all_files() if path.relative_to(ELEMENTS).parts[1] in PHASES]


def shell_scripts() -> list[Path]:
    return [path for path in all_files() if re.match(r"#!/bin/(ba)?sh\n", path.read_text())]


def element_dirs() -> list[Path]:
    return sorted(path for path in ELEMENTS.iterdir() if path.is_dir())


def element_file(relative: str) -> Path:
    """The one file of all elements that becomes /relative in the image."""
    (found,) = ELEMENTS.glob(f"*/static/{relative}")
    return found


# --- the rules of dib-lint --------------------------------------------------------------------


@pytest.mark.parametrize("path", named(hooks()))
def test_hook_follows_the_rules(path: Path) -> None:
    """A hook is an executable bash script that stops at errors and can be traced."""
    text = path.read_text()

    assert text.startswith("#!/bin/bash\n")
    assert 'if [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ]; then\n    set -x\nfi\nset -eu\n' in text
    assert "\nset -o pipefail\n" in text
    assert re.fullmatch(r"[1-9][0-9]-[a-z-]+", path.name), "two digits from 10 on, then words"
    code = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"export \w+=\$\(|\bwhich \w|<<-?\s*['\"]?\w+", code)


@pytest.mark.parametrize("path", named([p for p in hooks() if PHASES[p.parent.name] == "outside"]))
def test_hook_outside_the_chroot_uses_sudo_on_the_image_alone(path: Path) -> None:
    """Every sudo of a hook that runs on the host names the image's tree."""
    text = path.read_text().replace("\\\n", " ")

    for line in re.findall(r"^.*\bsudo .*$", text, re.MULTILINE):
        assert re.search(r"TARGET_ROOT|TMP_MOUNT_PATH|dib-lint: safe_sudo", line), line


@pytest.mark.parametrize("path", named(all_files()))
def test_file_is_executable_exactly_when_it_is_a_script(path: Path) -> None:
    """A shebang and the executable bit come together."""
    is_executable = bool(path.stat().st_mode & stat.S_IXUSR)

    assert is_executable == path.read_text().startswith("#!")


@pytest.mark.parametrize("path", named(all_files()))
def test_file_has_clean_white_space(path: Path) -> None:
    """No tabs for indentation, indents of four in shell, and a newline at the end."""
    text = path.read_text()

    assert text.endswith("\n")
    assert not re.search(r"^\s*\t", text, re.MULTILINE)
    if path in shell_scripts():
        assert not re.search(r"^(?: {4})* {1,3}[^ ]", text, re.MULTILINE)


@pytest.mark.parametrize("path", named(sorted(ELEMENTS.glob("*/element-deps"))))
def test_dependencies_are_sorted_and_exist(path: Path) -> None:
    """Dependencies stand in order; those of ours are there."""
    names = path.read_text().splitlines()

    assert names == sorted(names)
    for name in names:
        assert not name.startswith("amphora-") or (ELEMENTS / name).is_dir()


@pytest.mark.parametrize("path", named(sorted(ELEMENTS.glob("*/package-installs.yaml"))))
def test_packages_are_sorted(path: Path) -> None:
    """The list of packages is YAML, in order, and its element depends on what installs it."""
    packages = list(yaml.safe_load(path.read_text()))

    assert packages == sorted(packages)
    assert "package-installs" in (path.parent / "element-deps").read_text().split()


@pytest.mark.parametrize("path", named(element_dirs()))
def test_element_is_documented(path: Path) -> None:
    """The README has its sections, names every variable of the element, and files that exist."""
    readme = (path / "README.rst").read_text()

    title = path.name
    assert readme.startswith(f"{'=' * len(title)}\n{title}\n{'=' * len(title)}\n")
    assert "\nVariables\n=========\n" in readme
    assert "\nFiles\n=====\n" in readme
    for file in path.rglob("*"):
        if file.is_file():
            for variable in re.findall(r"DIB_AMPHORA_\w+", file.read_text()):
                assert variable in readme, f"{file}: {variable}"
    for name in re.findall(r"``[\w.]+/\d\d-[\w-]+``", readme):
        assert (path / name.strip("`")).exists()


def test_shell_scripts_pass_shellcheck() -> None:
    """shellcheck finds nothing in any script of the elements, nor in those of the build."""
    need.programs("shellcheck")
    build = [PROJECT / "build.sh", PROJECT / "image/make-disk.sh"]

    for paths in ([str(path) for path in shell_scripts()], [str(path) for path in build]):
        done = subprocess.run(
            ["shellcheck", "--external-sources", "--check-sourced", *paths],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stdout


def test_no_mirror_or_index_is_named() -> None:
    """Where packages come from is the business of whoever builds."""
    build = [PROJECT / "build.sh", *(PROJECT / "image").rglob("*.*")]

    for path in [*all_files(), *build, PROJECT / "requirements/build.txt"]:
        if path.suffix != ".pyc":
            for host in re.findall(r"https?://([\w.-]+\.\w+)", path.read_text()):
                assert host == "docs.haproxy.org", f"{path}: {host}"


# --- units ------------------------------------------------------------------------------------


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """A root directory with our units, the host's targets, and a file for every program."""
    need.programs("systemd-analyze")
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        shutil.copy(target, system)
    for unit in UNITS:
        shutil.copy(unit, system)
    for program in programs_of_units():
        file = tmp_path / program.relative_to("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "bin").symlink_to("usr/bin")
    return tmp_path


def programs_of_units() -> Iterator[Path]:
    for unit in UNITS:
        for path in re.findall(r"^Exec\w+=[-+!@:]*(/\S+)", unit.read_text(), re.MULTILINE):
            yield Path(path.replace("/bin/", "/usr/bin/", 1) if path.startswith("/bin/") else path)


def verify(root: Path, unit: Path) -> str:
    """What systemd says about a unit. The exit status alone hides unknown keys."""
    name = unit.name.replace("@.", f"@{LB_ID}.")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", name],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name.split(".")[0] in line]
    return "\n".join(complaints)


@pytest.mark.parametrize("unit", named(UNITS))
def test_unit_is_understood_by_systemd(image_root: Path, unit: Path) -> None:
    """systemd has nothing to say about a unit, its settings and its programs."""
    assert verify(image_root, unit) == ""


def test_unit_with_a_mistake_is_noticed(image_root: Path) -> None:
    """A setting that systemd does not know, or a program that is not there, is told."""
    unit = image_root / "usr/lib/systemd/system/amphora-netns.service"
    unit.write_text(unit.read_text().replace("RemainAfterExit=", "RemainsAfterExit="))
    (image_root / "usr/local/bin/amphora-agent").unlink()

    assert "RemainsAfterExit" in verify(image_root, unit)
    assert "amphora-agent is not executable" in verify(image_root, Path("amphora-agent.service"))


def test_units_that_want_to_start_are_enabled() -> None:
    """A preset enables each unit with an [Install] section, and no unit of ours without one."""
    presets = "\n".join(
        path.read_text() for path in ELEMENTS.glob("*/static/usr/lib/systemd/system-preset/*")
    )
    enabled = set(re.findall(r"^enable (\S+)$", presets, re.MULTILINE))

    installable = {unit.name for unit in UNITS if "[Install]" in unit.read_text()}
    assert {name for name in enabled if name.startswith(("amphora-", "haproxy"))} == installable


def test_everything_else_is_disabled_before_the_distribution_has_a_say() -> None:
    """The preset that turns the rest off sorts after ours and before systemd's own."""
    names = sorted(path.name for path in ELEMENTS.glob("*/static/usr/lib/systemd/system-preset/*"))

    assert names[-1] < "90-systemd.preset"
    assert (
        element_file(f"usr/lib/systemd/system-preset/{names[-1]}")
        .read_text()
        .endswith("\ndisable *\n")
    )


def test_haproxy_unit_uses_the_paths_of_the_agent() -> None:
    """What the agent writes is what the unit reads."""
    text = element_file("usr/lib/systemd/system/haproxy@.service").read_text().replace("%i", LB_ID)
    paths = layout.Layout()

    assert layout.haproxy_unit(LB_ID) == f"haproxy@{LB_ID}.service"
    assert f"EnvironmentFile={paths.haproxy_environment(LB_ID)}\n" in text
    assert f"Environment=CONFIG={paths.haproxy_config(LB_ID)}\n" in text
    assert f"Environment=USERGROUP={paths.user_group}\n" in text
    assert f" -p {paths.haproxy_pid(LB_ID)} " in text
    # The agent changes servers and certificates through it; nobody but root may.
    assert f" -S {paths.master_socket(LB_ID)},mode,600,level,admin " in text
    assert f"NetworkNamespacePath=/run/netns/{layout.NETNS}\n" in text


def test_units_read_the_file_that_octavia_injects() -> None:
    """Agent and heartbeats are pointed at the same configuration."""
    for name in ("amphora-agent", "amphora-heartbeat"):
        text = element_file(f"usr/lib/systemd/system/{name}.service").read_text()
        assert f"ExecStart=/usr/local/bin/{name} --config-file {layout.AGENT_CONFIG}\n" in text


# --- programs of the image --------------------------------------------------------------------


def run_generator(base: Path, out: Path) -> None:
    generator = element_file("usr/lib/systemd/system-generators/amphora-generator")
    subprocess.run(
        [str(generator), str(out), f"{out}.early", f"{out}.late"],
        env={"PATH": "/usr/bin:/bin", "AMPHORA_BASE": str(base)},
        check=True,
        timeout=DEADLINE_S,
    )


def test_generator_starts_every_load_balancer_with_a_configuration(tmp_path: Path) -> None:
    """A want per load balancer, and none for other directories or one without a configuration."""
    base, out = tmp_path / "base", tmp_path / "out"
    for name in (LB_ID, "certs", "vrrp"):
        (base / name).mkdir(parents=True)
        (base / name / "haproxy.cfg").touch()
    (base / LB_ID.replace("0a", "1b")).mkdir()

    run_generator(base, out)

    (want,) = (out / "multi-user.target.wants").iterdir()
    assert want.name == layout.haproxy_unit(LB_ID)
    assert str(want.readlink()) == "/usr/lib/systemd/system/haproxy@.service"


def test_generator_has_nothing_to_do_on_a_fresh_amphora(tmp_path: Path) -> None:
    """Without load balancers, or without the directory, no want is made."""
    run_generator(tmp_path / "nonexistent", tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_rotation_keeps_one_older_file(tmp_path: Path) -> None:
    """A full log moves aside, over the one before it."""
    log = tmp_path / "haproxy.log"
    script = str(element_file("usr/lib/amphora/rotate-log"))
    for text in ("first", "second"):
        log.write_text(text)
        subprocess.run([script, str(log)], check=True, timeout=DEADLINE_S)

    assert [path.name for path in tmp_path.iterdir()] == ["haproxy.log.1"]
    assert (tmp_path / "haproxy.log.1").read_text() == "second"


@pytest.mark.parametrize(
    ("address", "is_up"), [("127.0.0.1", True), ("no-address", False), ("::1::", False)]
)
def test_ping_wrapper_tells_whether_a_member_answers(address: str, is_up: bool) -> None:
    """The status is 0 for a member that answers, and silent either way."""
    need.programs("ping")
    done = subprocess.run(
        [str(element_file("var/lib/octavia/ping-wrapper.sh"))],
        env={"HAPROXY_SERVER_ADDR": address},
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )

    assert (done.returncode == 0) == is_up
    assert done.stdout + done.stderr == b""


# --- names that must agree --------------------------------------------------------------------


def test_root_file_system_has_one_label() -> None:
    """Boot loader, kernel, fstab and the maker of the disk look for the same label."""
    label = "amphora-root"

    assert f"--label {label}\n" in (PROJECT / "image/grub-early.cfg").read_text()
    assert f"ROOT_LABEL={label}\n" in (PROJECT / "image/make-disk.sh").read_text()
    assert f" root=LABEL={label} " in element_file("boot/grub/grub.cfg").read_text()
    assert element_file("etc/fstab").read_text().startswith(f"LABEL={label} ")


def test_fixed_paths_are_those_of_the_agent() -> None:
    """Files at paths that rendered configurations name are where the agent expects them."""
    paths = layout.Layout()
    assert element_file(str(paths.user_group.relative_to("/"))).is_file()

    install = (ELEMENTS / "amphora-agent/install.d/60-amphora-agent").read_text().split()
    for path in (paths.base, paths.certs, paths.interfaces, layout.AGENT_CONFIG.parent):
        assert str(path) in install
    assert f"netns={layout.NETNS}\n" in element_file("usr/lib/amphora/netns-up").read_text()


@pytest.mark.parametrize(
    "name", ["etc/sysctl.d/50-amphora.conf", "usr/lib/amphora/netns-sysctl.conf"]
)
def test_kernel_settings_are_well_formed(name: str) -> None:
    """Each line sets one name once, and may fail: a namespace or a kernel may lack it."""
    lines = element_file(name).read_text().splitlines()
    settings = [line for line in lines if line and not line.startswith("#")]

    assert all(re.fullmatch(r"-[a-z0-9_.-]+ = \d+(?: \d+)*", line) for line in settings)
    assert len({line.split(" = ")[0] for line in settings}) == len(settings)
