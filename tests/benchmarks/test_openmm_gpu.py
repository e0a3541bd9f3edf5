"""The measurement of OpenMM through the farm, tried out on cores."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openmm")

ROOT = Path(__file__).parents[2]


def _measure(*options: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "benchmarks.openmm_gpu", *options)
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="it may have an NVIDIA GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_measures_nothing() -> None:
    answer = _measure()
    assert answer.returncode == 2
    assert answer.stdout.startswith("nothing is measured: this machine has no NVIDIA GPU")
    assert answer.stdout.count("\n") == 1


def test_plain_and_farm_simulate_the_same_segments_and_are_compared(tmp_path: Path) -> None:
    answer = _measure(
        *("--platform", "Reference", "--solvent", "implicit", "--steps", "200"),
        *("--segments", "2", "--slots", "1", "--slots", "2", "--rounds", "1"),
        *("--output", str(tmp_path / "figures.json")),
    )
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "figures.json").read_text())
    assert result["machine"]["particles"] == 22
    assert list(result["medians"]) == ["1", "2"]
    for figures in result["medians"].values():
        plain, farm = figures["plain [ns/day]"], figures["farm [ns/day]"]
        assert plain > 0
        assert farm > 0
        assert figures["farm's overhead [%]"] == pytest.approx(100 * (1 - farm / plain))
