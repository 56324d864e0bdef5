"""What ships: the wheel holds our three packages, and works beside a user's own `pool.py`."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["dspex_bridge", "dspex_pool", "dspex_protocol"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == finished.returncode, finished.stdout + finished.stderr
    return folder


@pytest.fixture(scope="module")
def site(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(_only(built, "*.whl")) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A user's folder that holds modules named as our top folders."""
    for name in ("bridge", "codec", "frame", "pool", "protocol"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the user\\'s module was imported')\n")
    return tmp_path


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _run(site: Path, folder: Path, *arguments: str) -> str:
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-W", "error", *arguments]
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == finished.returncode, finished.stderr
    return finished.stdout


def test_the_wheel_holds_the_three_packages_and_nothing_else(built: Path) -> None:
    """Every module of the tree is in the wheel; no test, no Elixir, no top folder."""
    with zipfile.ZipFile(_only(built, "*.whl")) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    sources = [
        path.relative_to(folder)
        for folder in (ROOT / "bridge", ROOT / "pool", ROOT / "protocol")
        for path in folder.glob("dspex_*/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sorted(map(str, sources)) == sorted(names)


def test_each_package_tells_that_it_is_typed(site: Path) -> None:
    """A user's type checker sees our types: `py.typed` is in each package."""
    assert PACKAGES == sorted(marker.parent.name for marker in site.glob("*/py.typed"))


def test_the_sdist_leaves_the_elixir_client_out(built: Path) -> None:
    """The client is a package of its own; the sdist holds no file of it."""
    with tarfile.open(_only(built, "*.tar.gz")) as sdist:
        names = sdist.getnames()
    assert [] == [name for name in names if "/clients/" in name or name.endswith(".ex")]
    assert [] == [name for name in names if "/clients/" in name]


def test_a_users_own_modules_do_not_collide(site: Path, hostile: Path) -> None:
    """Where the user has a `pool.py`, ours are still imported from the wheel."""
    names = ", ".join(PACKAGES)
    found = _run(site, hostile, "-c", f"import {names}\nfor m in ({names}): print(m.__file__)")
    assert [str(site / name / "__init__.py") for name in PACKAGES] == found.split()


def test_the_command_runs_in_a_users_folder(site: Path, hostile: Path) -> None:
    """`python -m dspex_pool --help` works where the user has a `pool.py`."""
    assert "serve" in _run(site, hostile, "-m", "dspex_pool", "--help")


def test_the_console_script_is_declared(site: Path) -> None:
    """The wheel installs one command, `dspex`."""
    entry_points = _only(site, "*.dist-info/entry_points.txt").read_text()
    assert ["[console_scripts]", "dspex = dspex_pool.__main__:main"] == entry_points.split("\n")[:2]
