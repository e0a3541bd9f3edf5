"""The System as the run keeps it: built once by the driver, read by every runner.

`system/` in the run directory holds `system.xml`, `initial.xml` (positions and box),
`backbone.json` (the torsions' atoms) and `topology.pdb`, which names the atoms of the trajectories
for other programs. A resumed run uses what is there, so water and ions stay where they were.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import openmm as mm
from numpy.typing import NDArray
from openmm import app, unit

from hpcflow.ensembles.openmm.build import Built, bare_topology
from hpcflow.ensembles.openmm.torsions import Backbone, backbone_of
from hpcflow.errors import JournalError

SYSTEM_DIRECTORY = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What every segment in a runner shares."""

    system: mm.System
    initial: mm.State
    topology: app.Topology
    """Of nameless atoms: all that writing a trajectory needs."""
    torsions: NDArray[np.intp]
    """Atoms of phi and psi of each residue that has both (residues, 2, 4)."""


def save_prepared(built: Built, directory: Path) -> None:
    """Write the System for the runners, whole or not at all.

    Raises
    ------
    OSError
        If the directory cannot be written.
    """
    partial = directory.with_name(f"{directory.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    _write(partial / "system.xml", mm.XmlSerializer.serialize(built.system))
    _write(partial / "initial.xml", mm.XmlSerializer.serialize(built.state))
    backbone = msgspec.json.encode(backbone_of(built.topology))
    _write(partial / "backbone.json", backbone.decode())
    with (partial / "topology.pdb").open("w", encoding="utf-8") as file:
        positions = built.state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        app.PDBFile.writeFile(built.topology, positions, file, keepIds=True)
    partial.rename(directory)


def keep(built: Callable[[], Built], directory: Path) -> None:
    """Let `directory` hold the System: what it has, or else what `built` returns.

    Raises
    ------
    JournalError
        If it cannot be written.
    """
    if directory.is_dir():
        return
    try:
        save_prepared(built(), directory)
    except OSError as error:
        raise JournalError(
            f"cannot keep the System in {str(directory)!r}: {error.strerror}. Make room or let it"
            " be written, then resume the run."
        ) from None


def load_prepared(directory: str) -> Prepared:
    """Read what `save_prepared` wrote."""
    path = Path(directory)
    system = mm.XmlSerializer.deserialize((path / "system.xml").read_text(encoding="utf-8"))
    backbone = msgspec.json.decode((path / "backbone.json").read_bytes(), type=Backbone)
    return Prepared(
        system=system,
        initial=read_state(path / "initial.xml"),
        topology=bare_topology(system),
        torsions=backbone.indices(),
    )


def read_state(path: Path) -> mm.State:
    """Read an OpenMM State from XML."""
    return mm.XmlSerializer.deserialize(path.read_text(encoding="utf-8"))


def write_state(state: mm.State, path: Path) -> None:
    """Write an OpenMM State as XML, on disk and whole or not at all: a successor starts from it."""
    partial = path.with_name(f"{path.name}.partial")
    _write(partial, mm.XmlSerializer.serialize(state))
    partial.replace(path)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
