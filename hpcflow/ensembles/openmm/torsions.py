"""Find the backbone torsions of peptides: which atoms span phi and psi of which residue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class Backbone(msgspec.Struct, frozen=True, kw_only=True):
    """The residues that have both phi and psi, and the atoms of the two angles."""

    residues: list[str]
    """Such as `ALA 2`, in the order of the topology."""
    atoms: list[tuple[tuple[int, int, int, int], tuple[int, int, int, int]]]
    """Of each: phi (C of the previous residue, N, CA, C) and psi (N, CA, C, N of the next)."""

    def indices(self) -> NDArray[np.intp]:
        """Return the atoms as an array (residues, 2, 4)."""
        return np.array(self.atoms, dtype=np.intp).reshape(-1, 2, 4)


def backbone_of(topology: Any) -> Backbone:
    """Return the backbone of every peptide in an OpenMM topology.

    Neighbours in the chain are told by their bonds, so caps count as residues before and after,
    and chain breaks end a peptide.
    """
    bonded = _bonded(topology)
    found = [
        (f"{residue.name} {residue.id}", angles)
        for residue in topology.residues()
        for angles in _angles(residue, bonded)
    ]
    return Backbone(
        residues=[name for name, _ in found],
        atoms=[angles for _, angles in found],
    )


def _bonded(topology: Any) -> dict[int, list[Any]]:
    """Return the bonded atoms of each atom that belong to another residue, by its index."""
    across: dict[int, list[Any]] = {}
    for bond in topology.bonds():
        for one, other in ((bond[0], bond[1]), (bond[1], bond[0])):
            if one.residue is not other.residue:
                across.setdefault(one.index, []).append(other)
    return across


def _angles(
    residue: Any, bonded: dict[int, list[Any]]
) -> Iterator[tuple[tuple[int, int, int, int], tuple[int, int, int, int]]]:
    """Yield phi and psi of a residue if it has both."""
    named = {atom.name: atom.index for atom in residue.atoms()}
    if not {"N", "CA", "C"} <= named.keys():
        return
    n, ca, c = named["N"], named["CA"], named["C"]
    before = [atom.index for atom in bonded.get(n, []) if atom.name == "C"]
    after = [atom.index for atom in bonded.get(c, []) if atom.name == "N"]
    if before and after:
        yield (before[0], n, ca, c), (n, ca, c, after[0])
