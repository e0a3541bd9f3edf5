from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tomli_w

from hpcflow import Failed, Farm, RequestError, Succeeded
from hpcflow.core.task import AnyOutcome
from hpcflow.ensembles.ensemble import FarmOptions
from hpcflow.ensembles.openmm import OpenMMConfiguration, OpenMMEnsemble
from tests.ensembles.openmm.cases import PDB, ROOT, configured, dcd_frames, state_data

LADDER = {"lowest_k": 300, "highest_k": 400, "replicas": 4}


def _ensemble(**tables: Any) -> OpenMMEnsemble:
    tables = {"thermostat": {"temperature_k": LADDER}, **tables}
    return OpenMMEnsemble.from_configuration(configured(PDB, **tables), ROOT)


def _run(ensemble: OpenMMEnsemble, run: Path, *, most: int | None = None) -> list[AnyOutcome]:
    """Run the ensemble, or its first outcomes."""
    outcomes: list[AnyOutcome] = []
    with Farm(slots=2, run=run, seed=7, ensemble=ensemble.describe()) as farm:
        driving = ensemble.run(farm, FarmOptions())
        while len(outcomes) != most and (outcome := next(driving, None)) is not None:
            outcomes.append(outcome)
    return outcomes


def _values(outcomes: Sequence[AnyOutcome]) -> dict[str, Any]:
    """Return what the segments measured, by key: all but how fast."""
    return {
        outcome.key: {k: v for k, v in outcome.result().items() if k != "ns_per_day"}
        for outcome in outcomes
    }


def test_an_ensemble_stopped_in_the_middle_continues_each_replica_where_it_was(
    tmp_path: Path,
) -> None:
    ensemble = _ensemble()
    stopped = _run(ensemble, tmp_path / "stopped", most=3)
    resumed = _run(ensemble, tmp_path / "stopped")
    undisturbed = _run(ensemble, tmp_path / "undisturbed")
    assert {o.key for o in stopped} <= {o.key for o in resumed if o.replayed}
    assert len(resumed) == len(undisturbed) == ensemble.total == 8
    assert _values(resumed) == _values(undisturbed)
    for key in _values(resumed):
        finals = [
            tmp_path / run / "tasks" / "segments" / key / "final.xml"
            for run in ("stopped", "undisturbed")
        ]
        assert finals[0].read_bytes() == finals[1].read_bytes()
    assert all(outcome.replayed for outcome in _run(ensemble, tmp_path / "stopped"))
    assert ("segments", "8 of 8 done") in ensemble.summary(resumed, held_s=1.0)


def test_records_name_files_in_the_run_that_hold_the_segment(tmp_path: Path) -> None:
    outcomes = _run(_ensemble(thermostat={"temperature_k": 300}), tmp_path / "run")
    assert [outcome.key for outcome in outcomes] == ["r000-s000", "r000-s001"]
    files = outcomes[1].result()["files"]
    assert set(files) == {"trajectory", "state_data", "final_state", "torsions"}
    paths = {what: tmp_path / "run" / name for what, name in files.items()}
    assert state_data(paths["state_data"])["step"].tolist() == list(range(110, 201, 10))
    assert len(dcd_frames(paths["trajectory"], 22, periodic=False)[0]) == 10
    assert np.load(paths["torsions"]).shape == (10, 1, 2)


def test_a_segment_that_fails_ends_its_replica_and_no_other(tmp_path: Path) -> None:
    thermostat = {"temperature_k": [300, 1e200]}
    ensemble = _ensemble(thermostat=thermostat)
    outcomes = {outcome.key: outcome for outcome in _run(ensemble, tmp_path / "run")}
    assert set(outcomes) == {"r000-s000", "r000-s001", "r001-s000"}
    assert isinstance(outcomes["r001-s000"], Failed)
    assert isinstance(outcomes["r000-s001"], Succeeded)
    rows = dict(ensemble.summary(list(outcomes.values()), held_s=1.0))
    assert rows["replicas"] == "1 of 2 complete"
    assert rows["replicas ended early"] == "1: at r001-s000"


def test_a_description_is_toml_and_builds_the_same_ensemble() -> None:
    described = _ensemble().describe()
    assert tomllib.loads(tomli_w.dumps(described)) == described
    configuration = msgspec.convert(described, OpenMMConfiguration)
    again = OpenMMEnsemble.from_configuration(configuration, Path("/elsewhere"))
    assert again.describe() == described
    again.check()


def test_a_farm_without_a_run_is_refused() -> None:
    ensemble = _ensemble()
    with Farm(slots=1) as farm, pytest.raises(RequestError, match="a farm without a run"):
        next(ensemble.run(farm, FarmOptions()))


def test_check_refuses_a_missing_structure_and_a_missing_force_field(tmp_path: Path) -> None:
    for given, rule in (
        ({**PDB, "pdb": "gone.pdb"}, "input.pdb .*no such file"),
        ({**PDB, "force_field": ["amber99.xml"]}, "did you mean 'amber99"),
    ):
        ensemble = OpenMMEnsemble.from_configuration(configured(given, base=tmp_path), tmp_path)
        with pytest.raises(RequestError, match=rule):
            ensemble.check()


def test_without_openmm_check_names_the_remedy_and_the_rest_works(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(tomli_w.dumps(_ensemble().describe()))
    program = """
import sys, tomllib
from pathlib import Path
sys.modules["openmm"] = None
import msgspec
from hpcflow import RequestError
from hpcflow.ensembles.openmm import OpenMMConfiguration, OpenMMEnsemble
mapping = tomllib.loads(Path(sys.argv[1]).read_text())
configuration = msgspec.convert(mapping, OpenMMConfiguration)
ensemble = OpenMMEnsemble.from_configuration(configuration, Path())
assert ensemble.total == 8
try:
    ensemble.check()
except RequestError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run.toml")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "OpenMM is not installed here" in ran.stdout
    assert "pip install 'hpcflow[openmm]'" in ran.stdout


def test_the_shipped_configuration_is_32_replicas_from_300_to_500_k() -> None:
    path = ROOT / "configs" / "runs" / "alanine.toml"
    mapping = tomllib.loads(path.read_text())
    assert mapping.pop("ensemble") == "openmm"
    msgspec.convert(mapping.pop("farm"), FarmOptions)
    configuration = msgspec.convert(mapping, OpenMMConfiguration)
    ensemble = OpenMMEnsemble.from_configuration(configuration, path.parent)
    ensemble.check()
    assert ensemble.total == 32 * configuration.segments.number
