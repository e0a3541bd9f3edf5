"""Evolutions of real problems, as drivers that people can run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import Verdict, verify

EXAMPLES = Path(__file__).parents[3] / "examples"


def run_example(name: str, *arguments: Path) -> str:
    answer = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def verdict_of(run: Path) -> Verdict:
    verdict = verify(RunDirectory.existing(run))
    assert verdict.complete, verdict.problems
    return verdict


def test_max_ones_is_solved_and_solved_alike_from_its_journal(tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = run_example("max_ones.py", run)
    found = re.fullmatch(r"32 of 32 after (\d+) evaluations\n", answer)
    assert found is not None
    first = verdict_of(run)
    assert int(found[1]) <= first.succeeded <= 2032
    assert run_example("max_ones.py", run) == answer
    assert verdict_of(run).succeeded == first.succeeded


def test_the_icosahedron_of_thirteen_atoms_is_found(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="extra `examples`")
    answer = run_example("lennard_jones.py", tmp_path / "run")
    found = re.fullmatch(r"(-\d+\.\d{6}) epsilon after (\d+) relaxations\n", answer)
    assert found is not None
    assert float(found[1]) == pytest.approx(-44.326801, abs=2e-6)
    assert int(found[2]) < 1020
    assert verdict_of(tmp_path / "run").failed == 0


def test_hyper_parameters_better_than_the_default_ones_are_found(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="extra `examples`")
    answer = run_example("hyperparameters.py", tmp_path / "run")
    found = re.fullmatch(r"accuracy (0\.\d+) with C = (\S+), gamma = (\S+)\n", answer)
    assert found is not None
    default_accuracy = 0.87
    assert float(found[1]) > default_accuracy + 0.03
    assert verdict_of(tmp_path / "run").succeeded == 50


def test_leap_runs_on_the_client_of_a_farm() -> None:
    pytest.importorskip("leap_ec", reason="extra `examples`")
    answer = run_example("leap_steady_state.py")
    found = re.fullmatch(r"12 of 12, evaluated by (\d+) of (\d+) workers\n", answer)
    assert found is not None
    assert int(found[1]) >= min(2, int(found[2]))
