from __future__ import annotations

from openmm import app

from hpcflow.ensembles.openmm.torsions import Backbone, backbone_of
from tests.ensembles.openmm.cases import ALANINE_PDB, AMBER


def test_alanine_dipeptide_has_one_pair_of_torsions() -> None:
    topology = app.PDBFile(str(ALANINE_PDB)).topology
    names = {atom.index: (atom.residue.name, atom.name) for atom in topology.atoms()}
    backbone = backbone_of(topology)
    assert backbone.residues == ["ALA 2"]
    [(phi, psi)] = backbone.atoms
    assert [names[index] for index in phi] == [
        ("ACE", "C"),
        ("ALA", "N"),
        ("ALA", "CA"),
        ("ALA", "C"),
    ]
    assert [names[index] for index in psi] == [
        ("ALA", "N"),
        ("ALA", "CA"),
        ("ALA", "C"),
        ("NME", "N"),
    ]


def test_an_amber_topology_has_the_same_torsions_as_the_pdb_file() -> None:
    from_amber = backbone_of(app.AmberPrmtopFile(AMBER["prmtop"]).topology)
    assert from_amber.atoms == backbone_of(app.PDBFile(str(ALANINE_PDB)).topology).atoms


def test_residues_without_neighbours_on_both_sides_have_no_pair() -> None:
    topology = app.Topology()
    chain = topology.addChain()
    residues = [topology.addResidue("GLY", chain, id=str(number)) for number in (1, 2, 3, 9)]
    nitrogens, carbons = [], []
    for residue in residues:
        nitrogen, alpha, carbon = (
            topology.addAtom(name, None, residue) for name in ("N", "CA", "C")
        )
        topology.addBond(nitrogen, alpha)
        topology.addBond(alpha, carbon)
        nitrogens.append(nitrogen)
        carbons.append(carbon)
    topology.addBond(carbons[0], nitrogens[1])
    topology.addBond(nitrogens[2], carbons[1])
    # Between 3 and 9 the chain is broken.
    assert backbone_of(topology) == Backbone(
        residues=["GLY 2"], atoms=[((2, 3, 4, 5), (3, 4, 5, 6))]
    )


def test_a_molecule_that_is_no_peptide_has_no_torsions() -> None:
    topology = app.Topology()
    topology.addAtom("O", None, topology.addResidue("HOH", topology.addChain()))
    assert backbone_of(topology).indices().shape == (0, 2, 4)
