"""An installed hpcflow has the data that a checkout has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel of the checkout, elsewhere, and unpack it."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in ("hpcflow", "configs"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run([*command, "--wheel-dir", place, source], check=True, timeout=100)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "installed")
    return place / "installed"


def test_a_wheel_has_the_machines_and_the_settings_of_dask(installed: Path) -> None:
    for directory in ("machines", "dask"):
        checkout = {
            path.name: path.read_bytes() for path in (ROOT / "configs" / directory).iterdir()
        }
        data = installed / "hpcflow" / "configs" / directory
        assert {path.name: path.read_bytes() for path in data.iterdir()} == checkout
        assert len(checkout) >= 2


def test_an_installed_hpcflow_finds_its_machines(installed: Path, tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "hpcflow", "machines", "show", "summit"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(installed / "hpcflow" / "configs" / "machines" / "summit.toml") in answer.stdout
