"""Small Systems, and segments of them run without a farm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openmm as mm
from numpy.typing import NDArray
from openmm import app, unit

from hpcflow.ensembles.openmm.build import build
from hpcflow.ensembles.openmm.configuration import OpenMMConfiguration, resolved
from hpcflow.ensembles.openmm.prepared import Prepared, load_prepared, save_prepared
from hpcflow.ensembles.openmm.records import SegmentRecord, SegmentRequest
from hpcflow.ensembles.openmm.segment import Resources, run_segment

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "openmm"
ALANINE_PDB = ROOT / "configs" / "runs" / "alanine-dipeptide.pdb"

PDB = {"pdb": str(ALANINE_PDB), "force_field": ["amber99sbildn.xml"]}
PDB_IMPLICIT = {"pdb": str(ALANINE_PDB), "force_field": ["amber99sbildn.xml", "amber99_obc.xml"]}
PDB_SOLVATED = {"pdb": str(ALANINE_PDB), "force_field": ["amber99sbildn.xml", "tip3p.xml"]}
AMBER = {
    "prmtop": str(DATA / "alanine-dipeptide.prmtop"),
    "inpcrd": str(DATA / "alanine-dipeptide.inpcrd"),
}
AMBER_WATER = {"prmtop": str(DATA / "water.prmtop"), "inpcrd": str(DATA / "water.inpcrd")}


def configured(
    input_: dict[str, Any], base: Path = ROOT, **tables: dict[str, Any]
) -> OpenMMConfiguration:
    """Return a configuration with the given tables; those left out are short and at 300 K."""
    mapping: dict[str, Any] = {
        "input": input_,
        "thermostat": {"temperature_k": 300},
        "segments": {"number": 2, "steps": 100},
        "output": {"steps": 10},
        **tables,
    }
    return resolved(msgspec.convert(mapping, OpenMMConfiguration), base)


def prepared(configuration: OpenMMConfiguration, directory: Path) -> Prepared:
    """Build the System and read it back as a runner does."""
    save_prepared(build(configuration), directory / "system")
    return load_prepared(str(directory / "system"))


def request(**changed: Any) -> SegmentRequest:
    """Return a short segment of vacuum dynamics at 300 K."""
    plain = SegmentRequest(
        replica=0,
        segment=0,
        temperature_k=300.0,
        friction_per_ps=1.0,
        timestep_fs=2.0,
        steps=100,
        report_steps=10,
        minimize=False,
        equilibration_steps=0,
        trajectory="dcd",
        prior=None,
    )
    return msgspec.structs.replace(plain, **changed)


def simulated(
    what: SegmentRequest,
    system: Prepared,
    directory: Path,
    *,
    seed: int = 1,
    prior: Path | None = None,
) -> SegmentRecord:
    """Run a segment on the Reference platform, whose arithmetic is the same everywhere."""
    directory.mkdir(exist_ok=True)
    resources = Resources(platform="Reference", properties={}, directory=directory, seed=seed)
    return run_segment(what, system, resources=resources, prior=prior)


def potential_energy(system: mm.System, positions: Any, box: Any = None) -> float:
    """Return what plain OpenMM makes of the positions [kJ/mol]."""
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    if box is not None:
        context.setPeriodicBoxVectors(*box)
    context.setPositions(positions)
    energy = context.getState(energy=True).getPotentialEnergy()
    return float(energy.value_in_unit(unit.kilojoule_per_mole))


def state_data(path: Path) -> NDArray[Any]:
    """Return the table of a state data file, by the names of its columns."""
    return np.genfromtxt(path, delimiter=",", names=True)


def dcd_frames(path: Path, atoms: int, *, periodic: bool) -> tuple[NDArray[Any], int]:
    """Return the positions in a DCD file (frames, atoms, 3) [nm], and its first step."""
    data = path.read_bytes()
    assert data[4:8] == b"CORD"
    frames, first = np.frombuffer(data, "<i4", 2, offset=8)
    cell = 8 + 48 if periodic else 0
    block = 4 * atoms + 8
    size = cell + 3 * block
    begin = len(data) - int(frames) * size
    coordinates = [
        np.frombuffer(data, "<f4", atoms, offset=begin + frame * size + cell + axis * block + 4)
        for frame in range(frames)
        for axis in range(3)
    ]
    stacked = np.array(coordinates).reshape(frames, 3, atoms)
    return stacked.transpose(0, 2, 1) * 0.1, int(first)


def plain_alanine(*names: str) -> tuple[Any, mm.System]:
    """Return PDB file and System of alanine dipeptide as a user of OpenMM makes them."""
    pdb = app.PDBFile(str(ALANINE_PDB))
    force_field = app.ForceField(*names)
    return pdb, force_field.createSystem(pdb.topology, constraints=app.HBonds)
