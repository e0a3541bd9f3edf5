from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcflow.ensembles.openmm.configuration import (
    OpenMMConfiguration,
    Thermostat,
    plan_of,
    resolved,
    temperatures,
)
from hpcflow.errors import RequestError
from hpcflow.settings import convert
from tests.ensembles.openmm.cases import PDB, configured


def test_a_single_temperature_serves_all_its_replicas() -> None:
    assert temperatures(Thermostat(temperature_k=310, replicas_per_temperature=3)) == (310.0,) * 3


def test_a_ladder_is_geometric_and_meets_its_ends_exactly() -> None:
    ladder = {"lowest_k": 300, "highest_k": 500, "replicas": 32}
    plan = plan_of(configured(PDB, thermostat={"temperature_k": ladder}))
    assert len(plan.temperatures_k) == 32
    assert (plan.temperatures_k[0], plan.temperatures_k[-1]) == (300.0, 500.0)
    ratios = {
        round(high / low, 9)
        for low, high in zip(plan.temperatures_k, plan.temperatures_k[1:], strict=False)
    }
    assert len(ratios) == 1


def test_lengths_are_given_as_times_or_as_steps() -> None:
    by_time = configured(
        PDB,
        segments={"number": 1, "length_ps": 0.3, "timestep_fs": 2, "equilibration_ps": 0.1},
        output={"interval_ps": 0.1},
    )
    plan = plan_of(by_time)
    assert (plan.steps, plan.report_steps, plan.equilibration_steps) == (150, 50, 50)
    by_steps = configured(PDB, segments={"number": 1, "steps": 150}, output={"steps": 50})
    assert (plan_of(by_steps).steps, plan_of(by_steps).report_steps) == (150, 50)


@pytest.mark.parametrize(
    ("tables", "rule"),
    [
        ({"segments": {"number": 1}}, "0 of 'length_ps' and 'steps' are given"),
        ({"segments": {"number": 1, "steps": 9, "length_ps": 1}}, "2 of 'length_ps' and 'steps'"),
        ({"output": {}}, "0 of 'interval_ps' and 'steps' are given"),
        ({"segments": {"number": 1, "length_ps": 0.003}}, "it is 1.5 steps of 2 fs"),
        ({"output": {"steps": 30}}, "a segment holds a whole number of frames"),
        ({"output": {"steps": 100}}, "two at least"),
        ({"thermostat": {"temperature_k": []}}, "at least one temperature"),
        (
            {"thermostat": {"temperature_k": {"lowest_k": 9, "highest_k": 9, "replicas": 2}}},
            "from 9 K to 9 K: it goes up",
        ),
    ],
)
def test_lengths_and_temperatures_that_make_no_plan_are_refused(
    tables: dict[str, Any], rule: str
) -> None:
    with pytest.raises(RequestError, match=rule):
        plan_of(configured(PDB, **tables))


@pytest.mark.parametrize(
    ("tables", "rule"),
    [
        ({"thermostat": {"temperature_k": -300}}, "thermostat.temperature_k"),
        ({"thermostat": {"temperatures": 300}}, "did you mean 'temperature_k'"),
        ({"system": {"solvent": "implict"}}, "did you mean 'implicit'"),
        ({"platform": {"name": "Cuda"}}, "known: CPU, CUDA"),
        ({"output": {"trajectory": "trr"}}, "output.trajectory"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(tables: dict[str, Any], rule: str) -> None:
    mapping = {
        "input": {},
        "thermostat": {"temperature_k": 300},
        "segments": {"number": 1, "steps": 10},
        "output": {"steps": 1},
        **tables,
    }
    with pytest.raises(RequestError, match=rule):
        convert(mapping, OpenMMConfiguration, name="run.toml")


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.xml").write_text("<ForceField/>")
    given = {"pdb": "in/a.pdb", "force_field": ["mine.xml", "amber14-all.xml"]}
    found = configured(given, base=tmp_path).input
    assert found.pdb == str(tmp_path / "in" / "a.pdb")
    assert found.force_field == [str(tmp_path / "mine.xml"), "amber14-all.xml"]


def test_resolving_twice_changes_nothing(tmp_path: Path) -> None:
    once = configured({"prmtop": "a.prmtop", "inpcrd": "a.rst7"}, base=tmp_path)
    assert resolved(once, Path("/elsewhere")) == once
