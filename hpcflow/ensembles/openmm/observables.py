"""What is measured of a simulation while it runs: energies, kinetic temperature, torsions."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm as mm
from numpy.typing import NDArray
from openmm import unit

GAS_CONSTANT_KJ_MOL_K = 8.31446261815324e-3


class Thermometer:
    """Tells the kinetic temperature of a System from its velocities.

    T = 2 K / (f R), where f counts 3 for each particle that has mass, less the constraints, less
    3 where a CMMotionRemover takes the motion of the centre of mass away. That motion is then left
    out of K too: the thermostat gives some back in every step, before the remover acts in the next.

    The velocities that LangevinMiddleIntegrator holds after a step are those of the middle of the
    step, whose distribution is the canonical one to a higher order in the time step than that of
    velocities at its ends (Zhang et al. 2019, J. Phys. Chem. A 123, 6056): they are taken as they
    are, as OpenMM does for its own kinetic energy.
    """

    def __init__(self, system: mm.System) -> None:
        dalton = [
            system.getParticleMass(index).value_in_unit(unit.dalton)
            for index in range(system.getNumParticles())
        ]
        self._mass = np.array(dalton)[:, np.newaxis]
        self._drifts = not any(
            isinstance(force, mm.CMMotionRemover) for force in system.getForces()
        )
        free = 3 * np.count_nonzero(self._mass) - system.getNumConstraints()
        self.degrees_of_freedom = int(free if self._drifts else free - 3)

    def kinetic_energy(self, velocities: NDArray[np.floating]) -> float:
        """Return the kinetic energy [kJ/mol] of velocities (particles, 3) [nm/ps]."""
        relative = velocities
        if not self._drifts:
            relative = velocities - (self._mass * velocities).sum(axis=0) / self._mass.sum()
        return float(0.5 * (self._mass * relative**2).sum())

    def temperature(self, kinetic_energy: float) -> float:
        """Return the temperature [K] at a kinetic energy [kJ/mol]."""
        return 2 * kinetic_energy / (self.degrees_of_freedom * GAS_CONSTANT_KJ_MOL_K)


def potential_energy(state: Any) -> float:
    """Return the potential energy of an OpenMM State [kJ/mol]."""
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))


def velocities_of(state: Any) -> NDArray[np.float64]:
    """Return the velocities of an OpenMM State (particles, 3) [nm/ps]."""
    found = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
    return np.asarray(found, dtype=np.float64)


def positions_of(state: Any) -> NDArray[np.float64]:
    """Return the positions of an OpenMM State (particles, 3) [nm]."""
    found = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return np.asarray(found, dtype=np.float64)
