"""Simulate one segment of one replica."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openmm as mm
from openmm import app

from hpcflow.ensembles.openmm.observables import Thermometer
from hpcflow.ensembles.openmm.prepared import Prepared, read_state, write_state
from hpcflow.ensembles.openmm.records import SegmentFiles, SegmentRecord, SegmentRequest
from hpcflow.ensembles.openmm.reporters import (
    StateDataReporter,
    TorsionReporter,
    TrajectoryReporter,
)
from hpcflow.ensembles.openmm.statistics import mean_of

_SEEDS = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a segment computes on and where."""

    platform: str
    properties: dict[str, str]
    directory: Path
    """Its own; what an earlier try left there is replaced."""
    seed: int
    """Of starting velocities and thermostat; any size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reporters:
    state_data: StateDataReporter
    torsions: TorsionReporter


def run_segment(
    request: SegmentRequest, prepared: Prepared, *, resources: Resources, prior: Path | None
) -> SegmentRecord:
    """Simulate a segment and leave its files in its directory.

    The first segment of a replica starts from the initial state, minimized and equilibrated if so
    requested, with velocities drawn at its temperature; a later one from positions, velocities and
    box of `prior`. The Context is made anew each time, as only then it takes a seed: results
    depend on the seed and not on what ran in this process before.

    Raises
    ------
    FloatingPointError
        If the simulation blew up.
    OSError
        If `prior` cannot be read, or the directory not written.
    """
    start = prepared.initial if prior is None else read_state(prior)
    files = SegmentFiles(trajectory=f"trajectory.{request.trajectory}")
    for name in msgspec.structs.astuple(files):
        (resources.directory / name).unlink(missing_ok=True)
    simulation = simulation_of(request, prepared, resources)
    place(simulation, start)
    if prior is None:
        start_replica(simulation, request, resources.seed)
    with _reporting(
        simulation, request, prepared, files=files, to=resources.directory
    ) as reporters:
        began = time.perf_counter()
        simulation.step(request.steps)
        elapsed_s = time.perf_counter() - began
    record = _record(request, reporters, files=files, elapsed_s=elapsed_s)
    np.save(resources.directory / files.torsions, reporters.torsions.angles())
    final = simulation.context.getState(positions=True, velocities=True, parameters=True)
    write_state(final, resources.directory / files.final_state)
    return record


def simulation_of(request: SegmentRequest, prepared: Prepared, resources: Resources) -> Any:
    """Return a Simulation at the request's temperature, seeded, with no positions yet."""
    integrator = mm.LangevinMiddleIntegrator(
        request.temperature_k, request.friction_per_ps, request.timestep_fs * 1e-3
    )
    thermostat_seed, barostat_seed, _ = seeds_of(resources.seed)
    integrator.setRandomNumberSeed(thermostat_seed)
    for force in prepared.system.getForces():
        if isinstance(force, mm.MonteCarloBarostat):
            force.setRandomNumberSeed(barostat_seed)
    platform = mm.Platform.getPlatformByName(resources.platform)
    arguments = (platform, resources.properties) if resources.properties else (platform,)
    simulation = app.Simulation(prepared.topology, prepared.system, integrator, *arguments)
    if mm.MonteCarloBarostat.Temperature() in simulation.context.getParameters():
        simulation.context.setParameter(mm.MonteCarloBarostat.Temperature(), request.temperature_k)
    return simulation


def place(simulation: Any, state: Any) -> None:
    """Give the Simulation box, positions, velocities, time and parameters of a State."""
    context = simulation.context
    if simulation.system.usesPeriodicBoundaryConditions():
        context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    context.setPositions(state.getPositions(asNumpy=True))
    context.setTime(state.getTime())
    context.setStepCount(state.getStepCount())
    for name, value in state.getParameters().items():
        if name != mm.MonteCarloBarostat.Temperature():
            context.setParameter(name, value)
    if state.getDataTypes() & mm.State.Velocities:
        context.setVelocities(state.getVelocities(asNumpy=True))


def start_replica(simulation: Any, request: SegmentRequest, seed: int) -> None:
    """Minimize, draw velocities, equilibrate, and set the clock to 0."""
    if request.minimize:
        simulation.minimizeEnergy()
    simulation.context.applyConstraints(simulation.integrator.getConstraintTolerance())
    *_, velocity_seed = seeds_of(seed)
    simulation.context.setVelocitiesToTemperature(request.temperature_k, velocity_seed)
    if request.equilibration_steps:
        simulation.step(request.equilibration_steps)
    simulation.context.setTime(0)
    simulation.context.setStepCount(0)


def seeds_of(seed: int) -> tuple[int, int, int]:
    """Return seeds of thermostat, barostat and starting velocities, from 1 to 2**31 - 1.

    OpenMM takes 32 bits, and 0 for a seed of its own choice.
    """
    words = np.random.SeedSequence(seed).generate_state(3, dtype=np.uint64)
    thermostat, barostat, velocities = (int(word) % _SEEDS + 1 for word in words)
    return thermostat, barostat, velocities


@contextmanager
def _reporting(
    simulation: Any, request: SegmentRequest, prepared: Prepared, *, files: SegmentFiles, to: Path
) -> Iterator[_Reporters]:
    """Attach the reporters; their files are closed at the end."""
    every = request.report_steps
    trajectory = TrajectoryReporter(to / files.trajectory, request.trajectory, every=every)
    with (to / files.state_data).open("w", encoding="utf-8", buffering=1) as file:
        reporters = _Reporters(
            state_data=StateDataReporter(file, Thermometer(simulation.system), every=every),
            torsions=TorsionReporter(prepared.torsions, every=every),
        )
        simulation.reporters += [reporters.state_data, reporters.torsions, trajectory]
        try:
            yield reporters
        finally:
            trajectory.close()


def _record(
    request: SegmentRequest, reporters: _Reporters, *, files: SegmentFiles, elapsed_s: float
) -> SegmentRecord:
    energies, temperatures = (
        reporters.state_data.potential_energies,
        reporters.state_data.temperatures,
    )
    if not np.all(np.isfinite([energies, temperatures])):
        raise FloatingPointError(
            f"cannot go on with replica {request.replica} at {request.temperature_k:g} K: an energy"
            f" in segment {request.segment} is no finite number. Shorten the time step, minimize,"
            " or check the structure."
        )
    return SegmentRecord(
        replica=request.replica,
        segment=request.segment,
        temperature_k=request.temperature_k,
        ns=request.ns,
        ns_per_day=request.ns / elapsed_s * 86400,
        potential_energy_kj_mol=mean_of(energies),
        kinetic_temperature_k=mean_of(temperatures),
        files=files,
    )
