# SPDX-License-Identifier: Apache-2.0
"""The wheel that goes into the image."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.functional.conftest import REPOSITORY

_SOURCES = (
    *("setup.py", "pyproject.toml", "README.md", "LICENSE"),
    *("amphora_agent", "amphora_controller", "templates"),
)
_RENDER = "from amphora_agent import render; print(render.haproxy_environment('x'), end='')"
_PROGRAMS = {
    *("amphora-agent", "amphora-heartbeat", "amphora-interface"),
    *("amphora-log-offload", "amphora-prometheus", "amphora-provision"),
    "amphoractl",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy: setuptools writes beside the sources."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in _SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, symlinks=True)
        else:
            shutil.copy(REPOSITORY / name, source / name)
    _run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(directory)),
        str(source),
    )
    [built] = directory.glob("*.whl")
    return built


def test_wheel_holds_every_template(wheel: Path) -> None:
    """Templates are in the wheel as files, although they are reached by a link in the sources."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(name).name for name in archive.namelist() if "/templates/" in name}
    assert packed == {path.name for path in (REPOSITORY / "templates").glob("*.j2")} != set()


def test_wheel_holds_every_module(wheel: Path) -> None:
    """No module of the checkout is missing in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    sources = {
        str(path.relative_to(REPOSITORY))
        for package in ("amphora_agent", "amphora_controller")
        for path in (REPOSITORY / package).rglob("*.py")
    }
    assert packed == sources


def test_wheel_names_the_programs(wheel: Path) -> None:
    """The wheel installs the programs that the units start, and the controllers' command."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(name).decode()
    assert {line.split(" = ")[0] for line in text.splitlines() if " = " in line} == _PROGRAMS


def test_templates_render_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """An installed wheel renders the same text as this checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    # `-c` puts the working directory first on the path: once the wheel, once the checkout.
    from_wheel = _run(sys.executable, "-c", _RENDER, directory=tmp_path)
    from_checkout = _run(sys.executable, "-c", _RENDER, directory=REPOSITORY)
    assert from_wheel == from_checkout
    where = "import amphora_agent; print(amphora_agent.__file__)"
    assert str(tmp_path) in _run(sys.executable, "-c", where, directory=tmp_path)


def _run(*argv: str, directory: Path | None = None) -> str:
    done = subprocess.run(
        argv, cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
