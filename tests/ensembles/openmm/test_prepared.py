from __future__ import annotations

from pathlib import Path

import openmm as mm
import pytest

from hpcflow.ensembles.openmm.build import Built, build
from hpcflow.ensembles.openmm.observables import positions_of
from hpcflow.ensembles.openmm.prepared import keep, load_prepared
from hpcflow.errors import JournalError
from tests.ensembles.openmm.cases import AMBER_WATER, PDB, configured


def test_runners_read_back_the_system_that_was_built(tmp_path: Path) -> None:
    system = {"solvent": "explicit", "cutoff_nm": 0.6, "pressure_bar": 1.0}
    built = build(configured(AMBER_WATER, system=system))
    keep(lambda: built, tmp_path / "system")
    loaded = load_prepared(str(tmp_path / "system"))
    assert mm.XmlSerializer.serialize(loaded.system) == mm.XmlSerializer.serialize(built.system)
    assert (positions_of(loaded.initial) == positions_of(built.state)).all()
    assert loaded.topology.getPeriodicBoxVectors() is not None


def test_a_system_that_the_run_has_is_not_built_again(tmp_path: Path) -> None:
    calls = []

    def built() -> Built:
        calls.append(1)
        return build(configured(PDB))

    for _ in range(2):
        keep(built, tmp_path / "system")
    assert len(calls) == 1


def test_what_a_killed_driver_left_half_written_is_not_taken_for_the_system(tmp_path: Path) -> None:
    (tmp_path / "system.4242.partial").mkdir()
    keep(lambda: build(configured(PDB)), tmp_path / "system")
    assert load_prepared(str(tmp_path / "system")).system.getNumParticles() == 22


def test_a_run_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a directory belongs")
    with pytest.raises(JournalError, match=r"cannot keep the System in '.*run/system'"):
        keep(lambda: build(configured(PDB)), tmp_path / "run" / "system")
