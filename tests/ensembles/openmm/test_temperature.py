"""The physics of the thermostat: what is measured is what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from hpcflow.ensembles.openmm.configuration import plan_of
from hpcflow.ensembles.openmm.observables import GAS_CONSTANT_KJ_MOL_K, Thermometer, velocities_of
from hpcflow.ensembles.openmm.statistics import combined
from tests.ensembles.openmm.cases import (
    AMBER_WATER,
    PDB,
    PDB_IMPLICIT,
    configured,
    prepared,
    request,
    simulated,
)


def test_each_kinetic_temperature_is_within_three_standard_errors_of_its_thermostat(
    tmp_path: Path,
) -> None:
    ladder = {"lowest_k": 300, "highest_k": 500, "replicas": 4}
    configuration = configured(
        PDB_IMPLICIT, system={"solvent": "implicit"}, thermostat={"temperature_k": ladder}
    )
    loaded = prepared(configuration, tmp_path)
    for replica, temperature_k in enumerate(plan_of(configuration).temperatures_k):
        prior, segments = None, []
        for segment in range(2):
            directory = tmp_path / f"r{replica}-s{segment}"
            what = request(
                temperature_k=temperature_k,
                segment=segment,
                steps=20_000,
                report_steps=50,
                minimize=True,
                equilibration_steps=2_500,
            )
            record = simulated(what, loaded, directory, seed=10 * replica + segment, prior=prior)
            segments.append(record.kinetic_temperature_k)
            prior = directory / record.files.final_state
        kinetic = combined(segments)
        assert kinetic.sem < 0.03 * temperature_k
        assert abs(kinetic.mean - temperature_k) < 3 * kinetic.sem


def test_strong_friction_and_long_steps_do_not_shift_the_temperature(tmp_path: Path) -> None:
    """The thermostat then gives the centre of mass a tenth of its heat back in every step."""
    loaded = prepared(configured(PDB, system={"hydrogen_mass_amu": 3.0}), tmp_path)
    what = request(
        friction_per_ps=20.0,
        timestep_fs=3.0,
        steps=60_000,
        report_steps=20,
        equilibration_steps=3_000,
        minimize=True,
    )
    kinetic = simulated(what, loaded, tmp_path / "s").kinetic_temperature_k
    assert kinetic.sem < 2
    assert abs(kinetic.mean - 300) < 3 * kinetic.sem


@pytest.mark.parametrize(
    ("given", "system", "free"),
    [
        (PDB, {}, 3 * 22 - 12 - 3),
        (PDB, {"constraints": "none"}, 3 * 22 - 3),
        (PDB, {"constraints": "allbonds"}, 3 * 22 - 21 - 3),
        (AMBER_WATER, {"solvent": "explicit", "cutoff_nm": 0.6}, 65 * 6 - 3),
    ],
)
def test_constraints_and_the_centre_of_mass_take_degrees_of_freedom(
    given: dict[str, Any], system: dict[str, Any], free: int, tmp_path: Path
) -> None:
    loaded = prepared(configured(given, system=system), tmp_path)
    assert Thermometer(loaded.system).degrees_of_freedom == free


def test_particles_without_mass_and_a_free_centre_of_mass_are_counted_right() -> None:
    system = mm.System()
    for mass in (16.0, 1.0, 0.0):
        system.addParticle(mass)
    thermometer = Thermometer(system)
    assert thermometer.degrees_of_freedom == 6
    moving = np.array([[1.0, 0, 0], [1.0, 0, 0], [9.0, 9, 9]])
    assert thermometer.kinetic_energy(moving) == pytest.approx(8.5)
    system.addForce(mm.CMMotionRemover())
    thermometer = Thermometer(system)
    assert thermometer.degrees_of_freedom == 3
    assert thermometer.kinetic_energy(moving[:, :]) == pytest.approx(0.0)


def test_temperatures_are_those_of_openmms_own_formula(tmp_path: Path) -> None:
    loaded = prepared(configured(PDB), tmp_path)
    integrator = mm.LangevinMiddleIntegrator(300, 1e-6, 0.001)
    platform = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(loaded.topology, loaded.system, integrator, platform)
    simulation.context.setState(loaded.initial)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300, 1)
    simulation.step(10)
    state = simulation.context.getState(velocities=True, energy=True)
    kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
    thermometer = Thermometer(loaded.system)
    ours = thermometer.temperature(thermometer.kinetic_energy(velocities_of(state)))
    theirs = 2 * kinetic / (thermometer.degrees_of_freedom * GAS_CONSTANT_KJ_MOL_K)
    assert ours == pytest.approx(theirs, rel=1e-4)
