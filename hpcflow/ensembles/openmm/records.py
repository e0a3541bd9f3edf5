"""What a segment is asked for and what it returns. Nothing here needs OpenMM."""

from __future__ import annotations

import msgspec

from hpcflow.ensembles.openmm.configuration import TrajectoryFormat
from hpcflow.ensembles.openmm.statistics import Mean


class SegmentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What one task is to simulate."""

    replica: int
    segment: int
    temperature_k: float
    friction_per_ps: float
    timestep_fs: float
    steps: int
    report_steps: int
    minimize: bool
    equilibration_steps: int
    trajectory: TrajectoryFormat
    prior: str | None
    """Final state of the segment before, relative to the run directory; None for the first."""

    @property
    def ns(self) -> float:
        """Simulated time that is recorded [ns]."""
        return self.steps * self.timestep_fs * 1e-6


class SegmentFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the files that a segment leaves in its directory."""

    trajectory: str
    state_data: str = "state.csv"
    final_state: str = "final.xml"
    torsions: str = "torsions.npy"


class SegmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment returns."""

    replica: int
    segment: int
    temperature_k: float
    ns: float
    ns_per_day: float
    """Speed of the recorded steps, reports included [ns/day]."""
    potential_energy_kj_mol: Mean
    kinetic_temperature_k: Mean
    files: SegmentFiles
