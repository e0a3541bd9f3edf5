from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openmm as mm
import pytest
from openmm import app, unit

from hpcflow.ensembles.openmm.build import build, check_force_fields
from hpcflow.errors import RequestError
from tests.ensembles.openmm.cases import (
    ALANINE_PDB,
    AMBER,
    AMBER_WATER,
    PDB,
    PDB_IMPLICIT,
    PDB_SOLVATED,
    configured,
    plain_alanine,
    potential_energy,
)

EXPLICIT = {"solvent": "explicit", "cutoff_nm": 0.6}


def _plain_pdb(*names: str) -> float:
    pdb, system = plain_alanine(*names)
    return potential_energy(system, pdb.positions)


def _plain_amber(**arguments: Any) -> float:
    prmtop = app.AmberPrmtopFile(AMBER["prmtop"])
    coordinates = app.AmberInpcrdFile(AMBER["inpcrd"])
    system = prmtop.createSystem(constraints=app.HBonds, **arguments)
    return potential_energy(system, coordinates.positions)


def _plain_water() -> float:
    coordinates = app.AmberInpcrdFile(AMBER_WATER["inpcrd"])
    prmtop = app.AmberPrmtopFile(AMBER_WATER["prmtop"], periodicBoxVectors=coordinates.boxVectors)
    system = prmtop.createSystem(nonbondedMethod=app.PME, nonbondedCutoff=0.6 * unit.nanometer)
    return potential_energy(system, coordinates.positions, coordinates.boxVectors)


@pytest.mark.parametrize(
    ("given", "system", "plain"),
    [
        (PDB, {}, lambda: _plain_pdb("amber99sbildn.xml")),
        (
            PDB_IMPLICIT,
            {"solvent": "implicit"},
            lambda: _plain_pdb("amber99sbildn.xml", "amber99_obc.xml"),
        ),
        (
            PDB,
            {"solvent": "implicit", "implicit_model": "gbn2"},
            lambda: _plain_pdb("amber99sbildn.xml", "implicit/gbn2.xml"),
        ),
        (AMBER, {}, _plain_amber),
        (
            AMBER,
            {"solvent": "implicit", "implicit_model": "obc2"},
            lambda: _plain_amber(implicitSolvent=app.OBC2),
        ),
        (AMBER_WATER, EXPLICIT, _plain_water),
    ],
    ids=["pdb", "pdb-obc", "pdb-gbn2", "amber", "amber-obc2", "amber-explicit"],
)
def test_energies_are_those_of_plain_openmm(
    given: dict[str, Any], system: dict[str, Any], plain: Callable[[], float]
) -> None:
    built = build(configured(given, system=system))
    box = built.state.getPeriodicBoxVectors()
    periodic = built.system.usesPeriodicBoundaryConditions()
    energy = potential_energy(built.system, built.state.getPositions(), box if periodic else None)
    assert energy == pytest.approx(plain(), rel=1e-6)


def test_amber_and_pdb_inputs_of_one_molecule_agree() -> None:
    assert _plain_amber() == pytest.approx(_plain_pdb("amber99sbildn.xml"), rel=1e-3)


def test_xml_input_keeps_positions_box_and_parameters(tmp_path: Path) -> None:
    system = mm.System()
    system.addParticle(40.0)
    pull = mm.CustomExternalForce("pull*x")
    pull.addGlobalParameter("pull", 1.0)
    pull.addParticle(0)
    system.addForce(pull)
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    context.setPositions([mm.Vec3(0.5, 0.25, 2.0)])
    context.setParameter("pull", 3.0)
    state = context.getState(positions=True, velocities=True, parameters=True)
    (tmp_path / "s.xml").write_text(mm.XmlSerializer.serialize(system))
    (tmp_path / "i.xml").write_text(mm.XmlSerializer.serialize(state))
    given = {"system_xml": "s.xml", "state_xml": "i.xml"}
    built = build(configured(given, base=tmp_path))
    [position] = built.state.getPositions().value_in_unit(unit.nanometer)
    assert tuple(position) == (0.5, 0.25, 2.0)
    assert dict(built.state.getParameters()) == {"pull": 3.0}
    assert built.topology.getNumAtoms() == 1


def test_padding_adds_water_and_neutral_salt_the_same_each_time() -> None:
    system = {**EXPLICIT, "padding_nm": 0.6, "ionic_strength_molar": 1.0, "pressure_bar": 1.0}
    one, other = (build(configured(PDB_SOLVATED, system=system)) for _ in range(2))
    names = [residue.name for residue in one.topology.residues()]
    assert names.count("HOH") > 50
    assert names.count("NA") == names.count("CL") > 0
    assert names == [residue.name for residue in other.topology.residues()]
    assert one.system.usesPeriodicBoundaryConditions()
    assert any(isinstance(force, mm.MonteCarloBarostat) for force in one.system.getForces())
    [ewald] = [f for f in one.system.getForces() if isinstance(f, mm.NonbondedForce)]
    assert ewald.getNonbondedMethod() == mm.NonbondedForce.PME
    assert ewald.getCutoffDistance() == 0.6 * unit.nanometer


def test_hydrogens_take_mass_from_their_heavy_atoms() -> None:
    heavy = build(configured(PDB, system={"hydrogen_mass_amu": 3.0})).system
    light = build(configured(PDB)).system
    assert heavy.getParticleMass(0) == 3.0 * unit.dalton
    total = [
        sum(s.getParticleMass(i).value_in_unit(unit.dalton) for i in range(s.getNumParticles()))
        for s in (heavy, light)
    ]
    assert total[0] == pytest.approx(total[1])


def test_without_constraints_there_are_none() -> None:
    free = build(configured(PDB, system={"constraints": "none"})).system
    assert (free.getNumConstraints(), build(configured(PDB)).system.getNumConstraints()) == (0, 12)


@pytest.mark.parametrize(
    ("given", "system", "rule"),
    [
        (PDB, {"solvent": "implicit"}, "the force field brings none"),
        (PDB_IMPLICIT, {}, "the force field brings an implicit solvent"),
        (PDB, {"solvent": "explicit"}, "the input has no periodic box"),
        (AMBER, {"solvent": "explicit"}, "the input has no periodic box"),
        (AMBER_WATER, {"solvent": "explicit"}, "half the periodic box"),
        ({**PDB, "force_field": ["tip3p.xml"]}, {}, r"No template found for residue .*ACE"),
        ({**AMBER, "inpcrd": AMBER_WATER["inpcrd"]}, {}, "simulate the System that the input"),
        ({"prmtop": str(ALANINE_PDB), "inpcrd": AMBER["inpcrd"]}, {}, "build a System from"),
    ],
)
def test_molecules_that_openmm_refuses_are_an_error_with_its_reason(
    given: dict[str, Any], system: dict[str, Any], rule: str
) -> None:
    with pytest.raises(RequestError, match=rule):
        build(configured(given, system=system))


def _one_particle(directory: Path, mass: float, *forces: mm.Force) -> dict[str, str]:
    """Return the input of a System of one particle, as XML."""
    system = mm.System()
    system.addParticle(mass)
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    context.setPositions([mm.Vec3(0, 0, 0)])
    for force in forces:
        system.addForce(force)
    (directory / "s.xml").write_text(mm.XmlSerializer.serialize(system))
    state = context.getState(positions=True)
    (directory / "i.xml").write_text(mm.XmlSerializer.serialize(state))
    return {"system_xml": "s.xml", "state_xml": "i.xml"}


def test_a_system_with_its_own_thermostat_is_refused(tmp_path: Path) -> None:
    given = _one_particle(tmp_path, 1.0, mm.AndersenThermostat(300, 1))
    with pytest.raises(RequestError, match="AndersenThermostat"):
        build(configured(given, base=tmp_path))


def test_a_system_in_which_nothing_moves_is_refused(tmp_path: Path) -> None:
    given = _one_particle(tmp_path, 0.0)
    with pytest.raises(RequestError, match="it has 0 degrees of freedom"):
        build(configured(given, base=tmp_path))


def test_a_system_and_a_state_that_changed_places_are_refused(tmp_path: Path) -> None:
    system = mm.System()
    (tmp_path / "s.xml").write_text(mm.XmlSerializer.serialize(system))
    given = {"system_xml": "s.xml", "state_xml": "s.xml"}
    with pytest.raises(RequestError, match="where a State belongs stands a System"):
        build(configured(given, base=tmp_path))


def test_a_pdb_file_of_other_atoms_than_the_systems_is_refused(tmp_path: Path) -> None:
    given = {**_one_particle(tmp_path, 1.0), "pdb": str(ALANINE_PDB)}
    with pytest.raises(RequestError, match="it has 22 atoms, the System 1"):
        build(configured(given, base=tmp_path))


def test_an_unknown_force_field_names_the_nearest_shipped_one() -> None:
    given = {**PDB, "force_field": ["amber14-al.xml"]}
    with pytest.raises(RequestError, match=r"did you mean 'amber14-all.xml'\? Correct"):
        check_force_fields(configured(given))


def test_force_fields_in_subdirectories_of_openmm_are_found() -> None:
    check_force_fields(configured({**PDB, "force_field": ["implicit/gbn2.xml"]}))
