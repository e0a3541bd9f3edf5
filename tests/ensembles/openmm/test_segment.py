from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openmm as mm
import pytest
from openmm import app, unit
from openmm.app.internal.xtc_utils import read_xtc

from hpcflow.ensembles.openmm.geometry import dihedrals
from hpcflow.ensembles.openmm.observables import positions_of, velocities_of
from hpcflow.ensembles.openmm.platform import properties_of
from hpcflow.ensembles.openmm.prepared import Prepared, read_state
from hpcflow.ensembles.openmm.segment import (
    Resources,
    place,
    run_segment,
    seeds_of,
    simulation_of,
    start_replica,
)
from tests.ensembles.openmm.cases import (
    AMBER,
    AMBER_WATER,
    PDB,
    PDB_IMPLICIT,
    PDB_SOLVATED,
    configured,
    dcd_frames,
    plain_alanine,
    potential_energy,
    prepared,
    request,
    simulated,
    state_data,
)

EXPLICIT = {"solvent": "explicit", "cutoff_nm": 0.6}


@pytest.fixture(name="vacuum")
def _vacuum(tmp_path: Path) -> Prepared:
    return prepared(configured(PDB), tmp_path)


@pytest.mark.parametrize(
    ("given", "system"),
    [
        (PDB, {}),
        (PDB_IMPLICIT, {"solvent": "implicit"}),
        (AMBER, {"solvent": "implicit", "implicit_model": "obc2"}),
        (AMBER_WATER, EXPLICIT),
        (PDB_SOLVATED, {**EXPLICIT, "padding_nm": 0.6}),
    ],
    ids=["vacuum", "implicit", "amber-implicit", "amber-explicit", "solvated"],
)
def test_the_energy_of_the_first_frame_is_that_of_plain_openmm(
    given: dict[str, Any], system: dict[str, Any], tmp_path: Path
) -> None:
    loaded = prepared(configured(given, system=system), tmp_path)
    record = simulated(request(steps=4, report_steps=2), loaded, tmp_path / "s")
    periodic = loaded.system.usesPeriodicBoundaryConditions()
    atoms = loaded.system.getNumParticles()
    frames, first = dcd_frames(tmp_path / "s" / record.files.trajectory, atoms, periodic=periodic)
    assert (len(frames), first) == (2, 2)
    box = loaded.initial.getPeriodicBoxVectors() if periodic else None
    table = state_data(tmp_path / "s" / record.files.state_data)
    plain = potential_energy(loaded.system, frames[0].astype(float), box)
    assert table["potential_energy_kj_mol"][0] == pytest.approx(plain, rel=1e-4)


def test_a_system_handed_over_as_xml_has_the_energies_of_its_own_build(tmp_path: Path) -> None:
    pdb, system = plain_alanine("amber99sbildn.xml", "amber99_obc.xml")
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    context.setPositions(pdb.positions)
    (tmp_path / "s.xml").write_text(mm.XmlSerializer.serialize(system))
    state = context.getState(positions=True, velocities=True)
    (tmp_path / "i.xml").write_text(mm.XmlSerializer.serialize(state))
    files = {"system_xml": "s.xml", "state_xml": "i.xml", "pdb": PDB["pdb"]}
    (tmp_path / "xml").mkdir()
    (tmp_path / "pdb").mkdir()
    from_xml = prepared(configured(files, base=tmp_path), tmp_path / "xml")
    from_pdb = prepared(configured(PDB_IMPLICIT, system={"solvent": "implicit"}), tmp_path / "pdb")
    assert from_xml.torsions.tolist() == from_pdb.torsions.tolist()
    energies = [
        state_data(tmp_path / name / simulated(request(), loaded, tmp_path / name).files.state_data)
        for name, loaded in (("a", from_xml), ("b", from_pdb))
    ]
    assert energies[0]["potential_energy_kj_mol"] == pytest.approx(
        energies[1]["potential_energy_kj_mol"], rel=1e-4
    )


def _starting_velocities(loaded: Prepared, directory: Path, seed: int) -> Any:
    resources = Resources(platform="Reference", properties={}, directory=directory, seed=seed)
    simulation = simulation_of(request(minimize=True), loaded, resources)
    place(simulation, loaded.initial)
    start_replica(simulation, request(minimize=True), seed)
    return velocities_of(simulation.context.getState(velocities=True))


def test_the_same_seed_gives_the_same_starting_velocities(vacuum: Prepared, tmp_path: Path) -> None:
    once = _starting_velocities(vacuum, tmp_path, 2**62 + 7)
    simulated(request(), vacuum, tmp_path / "between")
    assert np.array_equal(once, _starting_velocities(vacuum, tmp_path, 2**62 + 7))
    assert not np.any(once == _starting_velocities(vacuum, tmp_path, 2**62 + 8))


def test_a_segment_run_again_gives_the_same_values_and_files(
    vacuum: Prepared, tmp_path: Path
) -> None:
    records = [simulated(request(), vacuum, tmp_path / name, seed=5) for name in ("a", "b")]
    assert records[0].potential_energy_kj_mol == records[1].potential_energy_kj_mol
    for name in ("state.csv", "final.xml", "torsions.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_seeds_fit_openmm_and_never_ask_for_a_random_one() -> None:
    seeds = [one for seed in range(500) for one in seeds_of(seed * 2**50)]
    assert len(set(seeds)) == len(seeds)
    assert all(1 <= one < 2**31 for one in seeds)


@pytest.mark.parametrize(
    ("given", "system"), [(PDB, {}), (AMBER_WATER, {**EXPLICIT, "pressure_bar": 1.0})]
)
def test_a_segment_starts_where_the_last_ended(
    given: dict[str, Any], system: dict[str, Any], tmp_path: Path
) -> None:
    loaded = prepared(configured(given, system=system), tmp_path)
    simulated(request(steps=60), loaded, tmp_path / "s0")
    final = read_state(tmp_path / "s0" / "final.xml")
    resources = Resources(platform="Reference", properties={}, directory=tmp_path, seed=3)
    simulation = simulation_of(request(segment=1), loaded, resources)
    place(simulation, final)
    start = simulation.context.getState(positions=True, velocities=True)
    assert np.array_equal(positions_of(start), positions_of(final))
    assert np.array_equal(velocities_of(start), velocities_of(final))
    assert start.getPeriodicBoxVectors() == final.getPeriodicBoxVectors()
    assert start.getStepCount() == 60
    assert start.getTime().value_in_unit(unit.picosecond) == pytest.approx(0.12)


def test_steps_and_times_run_on_through_the_segments(vacuum: Prepared, tmp_path: Path) -> None:
    first = request(equilibration_steps=35)
    simulated(first, vacuum, tmp_path / "s0")
    simulated(
        request(segment=1), vacuum, tmp_path / "s1", seed=2, prior=tmp_path / "s0" / "final.xml"
    )
    tables = [state_data(tmp_path / name / "state.csv") for name in ("s0", "s1")]
    assert np.concatenate([t["step"] for t in tables]).tolist() == list(range(10, 201, 10))
    assert tables[1]["time_ps"][-1] == pytest.approx(0.4)
    assert dcd_frames(tmp_path / "s1" / "trajectory.dcd", 22, periodic=False)[1] == 110


def test_a_barostat_keeps_the_replicas_temperature(tmp_path: Path) -> None:
    system = {**EXPLICIT, "pressure_bar": 1.0}
    loaded = prepared(configured(AMBER_WATER, system=system), tmp_path)
    simulated(request(temperature_k=350.0), loaded, tmp_path / "s0")
    parameters = read_state(tmp_path / "s0" / "final.xml").getParameters()
    assert parameters[mm.MonteCarloBarostat.Temperature()] == 350.0
    volumes = state_data(tmp_path / "s0" / "state.csv")["volume_nm3"]
    assert len(set(volumes)) > 1


def test_xtc_and_dcd_hold_the_same_frames(vacuum: Prepared, tmp_path: Path) -> None:
    for form in ("dcd", "xtc"):
        simulated(request(trajectory=form), vacuum, tmp_path / form)
    dcd, _ = dcd_frames(tmp_path / "dcd" / "trajectory.dcd", 22, periodic=False)
    coordinates, _, times, steps = read_xtc(str(tmp_path / "xtc" / "trajectory.xtc").encode())
    assert steps.tolist() == list(range(10, 101, 10))
    assert times.tolist() == pytest.approx([step * 0.002 for step in steps])
    assert np.moveaxis(coordinates, 2, 0) == pytest.approx(dcd, abs=0.001)


def test_torsions_are_those_of_the_trajectory(vacuum: Prepared, tmp_path: Path) -> None:
    record = simulated(request(), vacuum, tmp_path / "s")
    frames, _ = dcd_frames(tmp_path / "s" / record.files.trajectory, 22, periodic=False)
    torsions = np.load(tmp_path / "s" / record.files.torsions)
    assert torsions.shape == (10, 1, 2)
    assert torsions == pytest.approx(dihedrals(frames[:, vacuum.torsions]), abs=1e-4)


def test_torsions_of_a_system_without_a_backbone_are_empty(tmp_path: Path) -> None:
    loaded = prepared(configured(AMBER_WATER, system=EXPLICIT), tmp_path)
    record = simulated(request(steps=20), loaded, tmp_path / "s")
    assert np.load(tmp_path / "s" / record.files.torsions).shape == (2, 0, 2)


def test_what_an_earlier_try_left_is_replaced(vacuum: Prepared, tmp_path: Path) -> None:
    directory = tmp_path / "s"
    directory.mkdir()
    for name in ("trajectory.xtc", "state.csv", "final.xml", "torsions.npy"):
        (directory / name).write_text("half a line of an earlier try" * 1000)
    simulated(request(trajectory="xtc"), vacuum, directory)
    simulated(request(trajectory="xtc"), vacuum, tmp_path / "clean")
    for name in ("trajectory.xtc", "state.csv", "final.xml", "torsions.npy"):
        assert (directory / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()


def test_the_record_gives_length_speed_and_the_means_of_the_state_data(
    vacuum: Prepared, tmp_path: Path
) -> None:
    record = simulated(request(replica=3, segment=0), vacuum, tmp_path / "s")
    table = state_data(tmp_path / "s" / "state.csv")
    assert (record.replica, record.segment, record.temperature_k) == (3, 0, 300.0)
    assert record.ns == pytest.approx(0.0002)
    assert record.ns_per_day > 0
    assert record.potential_energy_kj_mol.mean == pytest.approx(
        table["potential_energy_kj_mol"].mean()
    )
    assert record.kinetic_temperature_k.mean == pytest.approx(
        table["temperature_k"].mean(), rel=1e-5
    )
    assert msgspec.to_builtins(record)["files"]["trajectory"] == "trajectory.dcd"


def test_a_simulation_that_blows_up_fails_and_leaves_no_final_state(
    vacuum: Prepared, tmp_path: Path
) -> None:
    with pytest.raises((FloatingPointError, mm.OpenMMException, ValueError)):
        simulated(request(timestep_fs=500.0, temperature_k=1e6), vacuum, tmp_path / "s")
    assert not (tmp_path / "s" / "final.xml").exists()


def test_the_cpu_platform_agrees_with_reference(vacuum: Prepared, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    resources = Resources(
        platform="CPU",
        properties=properties_of("CPU", precision="mixed", threads=1),
        directory=tmp_path / "cpu",
        seed=1,
    )
    run_segment(request(steps=20, report_steps=1), vacuum, resources=resources, prior=None)
    simulated(request(steps=20, report_steps=1), vacuum, tmp_path / "reference")
    first = [
        state_data(tmp_path / name / "state.csv")["potential_energy_kj_mol"][0]
        for name in ("cpu", "reference")
    ]
    # The two draw their random forces differently, which one step hardly shows.
    assert first[0] == pytest.approx(first[1], rel=0.05)


def test_the_topology_that_is_kept_names_the_atoms_of_the_trajectory(
    vacuum: Prepared, tmp_path: Path
) -> None:
    kept = app.PDBFile(str(tmp_path / "system" / "topology.pdb"))
    names = [atom.name for atom in kept.topology.atoms()]
    assert names == [atom.name for atom in app.PDBFile(PDB["pdb"]).topology.atoms()]
    assert vacuum.topology.getNumAtoms() == len(names)
