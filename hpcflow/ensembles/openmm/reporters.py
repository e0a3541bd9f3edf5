"""OpenMM reporters: state data, backbone torsions and trajectories of one segment.

All ask for the same at the same steps, so OpenMM makes one State for all of them.
"""

from __future__ import annotations

from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openmm import app, unit

from hpcflow.ensembles.openmm.configuration import TrajectoryFormat
from hpcflow.ensembles.openmm.geometry import dihedrals
from hpcflow.ensembles.openmm.observables import (
    Thermometer,
    positions_of,
    potential_energy,
    velocities_of,
)


class _Periodic:
    """Reports every so many steps, with molecules whole in a periodic box."""

    needs: tuple[str, ...]

    def __init__(self, every: int) -> None:
        self.every = every

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802 - OpenMM's name
        """Say when to report next, and with what."""
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": None, "include": list(self.needs)}


class StateDataReporter(_Periodic):
    """Writes energies and temperature as CSV, one line a frame, and keeps them as series."""

    needs = ("positions", "velocities", "energy")
    HEADER = "step,time_ps,potential_energy_kj_mol,kinetic_energy_kj_mol,temperature_k,volume_nm3"

    def __init__(self, file: TextIOWrapper, thermometer: Thermometer, *, every: int) -> None:
        super().__init__(every)
        self.potential_energies: list[float] = []
        self.temperatures: list[float] = []
        self._file = file
        self._thermometer = thermometer
        file.write(f"{self.HEADER}\n")

    def report(self, simulation: Any, state: Any) -> None:
        """Write one line. The volume is empty where there is no box."""
        potential = potential_energy(state)
        kinetic = self._thermometer.kinetic_energy(velocities_of(state))
        temperature = self._thermometer.temperature(kinetic)
        self.potential_energies.append(potential)
        self.temperatures.append(temperature)
        time_ps = state.getTime().value_in_unit(unit.picosecond)
        volume = ""
        if simulation.system.usesPeriodicBoundaryConditions():
            volume = f"{state.getPeriodicBoxVolume().value_in_unit(unit.nanometer**3):.6f}"
        self._file.write(
            f"{simulation.currentStep},{time_ps:.6f},{potential:.6f},{kinetic:.6f},"
            f"{temperature:.4f},{volume}\n"
        )


class TorsionReporter(_Periodic):
    """Keeps phi and psi of every residue that has both."""

    needs = ("positions", "velocities", "energy")

    def __init__(self, torsions: NDArray[np.intp], *, every: int) -> None:
        super().__init__(every)
        self._torsions = torsions
        self._frames: list[NDArray[np.float64]] = []

    def report(self, _simulation: Any, state: Any) -> None:
        """Measure one frame."""
        self._frames.append(dihedrals(positions_of(state)[self._torsions]))

    def angles(self) -> NDArray[np.float64]:
        """Return phi and psi [radian] as an array (frames, residues, 2)."""
        return np.array(self._frames).reshape(len(self._frames), len(self._torsions), 2)


class TrajectoryReporter(_Periodic):
    """Writes positions as DCD or XTC, with the true step numbers of a later segment.

    OpenMM's own reporters number the frames of each file from its start.
    """

    needs = ("positions", "velocities", "energy")

    def __init__(self, path: Path, form: TrajectoryFormat, *, every: int) -> None:
        super().__init__(every)
        self._path = path
        self._form = form
        self._file = path.open("wb") if form == "dcd" else None
        self._writer: Any = None

    def report(self, simulation: Any, state: Any) -> None:
        """Write one frame."""
        if self._writer is None:
            step_ps = simulation.integrator.getStepSize()
            self._writer = self._open(simulation.topology, step_ps, first=simulation.currentStep)
        positions = state.getPositions(asNumpy=True)
        self._writer.writeModel(positions, periodicBoxVectors=state.getPeriodicBoxVectors())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _open(self, topology: Any, step_ps: Any, *, first: int) -> Any:
        if self._file is not None:
            return app.DCDFile(self._file, topology, step_ps, first, self.every)
        return app.XTCFile(str(self._path), topology, step_ps, first, self.every)
