from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpcflow.ensembles.openmm.checks import check_options, kind_of, with_digests
from hpcflow.ensembles.openmm.configuration import Input
from hpcflow.errors import RequestError
from tests.ensembles.openmm.cases import AMBER, PDB, configured

XML = {"system_xml": "s.xml", "state_xml": "i.xml"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [(PDB, "PDB"), (AMBER, "AMBER"), (XML, "XML"), ({**XML, "pdb": "a.pdb"}, "XML")],
)
def test_each_kind_of_input_is_recognized(given: dict[str, Any], kind: str) -> None:
    assert kind_of(msgspec.convert(given, Input)).name == kind


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, "names none of the three kinds"),
        ({**PDB, **AMBER}, "prmtop and inpcrd and pdb and force_field of the three"),
        ({**AMBER, **XML}, "of the three kinds"),
        ({**XML, "force_field": ["tip3p.xml"]}, "of the three kinds"),
        ({"prmtop": "a.prmtop"}, "input.inpcrd is missing"),
        ({"system_xml": "s.xml"}, "input.state_xml is missing"),
        ({"pdb": "a.pdb"}, "input.force_field is missing"),
        ({"force_field": ["tip3p.xml"]}, "input.pdb is missing"),
    ],
)
def test_less_or_more_than_one_input_is_refused(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(RequestError, match=rule):
        kind_of(msgspec.convert(given, Input))


@pytest.mark.parametrize(
    ("given", "system", "rule"),
    [
        (XML, {"constraints": "none"}, "to a System that comes as XML"),
        (PDB, {"implicit_model": "obc2"}, "system.solvent is 'none'"),
        (AMBER, {"solvent": "implicit"}, "it brings no model"),
        (AMBER, {"solvent": "explicit", "padding_nm": 1.0}, "cannot add water"),
        (PDB, {"padding_nm": 1.0}, "padding_nm: it needs a box"),
        (PDB, {"solvent": "implicit", "pressure_bar": 1.0}, "pressure_bar: it needs a box"),
        (PDB, {"solvent": "explicit", "ionic_strength_molar": 0.1}, "no water is added"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    given: dict[str, Any], system: dict[str, Any], rule: str
) -> None:
    with pytest.raises(RequestError, match=rule):
        check_options(configured(given, system=system))


@pytest.mark.parametrize("option", ["pdb", "prmtop", "system_xml"])
def test_a_missing_file_is_named_with_its_option(option: str, tmp_path: Path) -> None:
    given = msgspec.convert({option: str(tmp_path / "gone")}, Input)
    with pytest.raises(RequestError, match=rf"input\.{option} '.*gone': no such file"):
        with_digests(given)


def test_a_file_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    structure = tmp_path / "a.pdb"
    structure.write_text("END\n")
    pinned = with_digests(Input(pdb=str(structure)))
    assert with_digests(pinned) == pinned
    structure.write_text("TER\nEND\n")
    with pytest.raises(RequestError, match="not the file that the run began with"):
        with_digests(pinned)


def test_a_force_field_of_ones_own_is_pinned_and_a_shipped_one_is_not(tmp_path: Path) -> None:
    mine = tmp_path / "mine.xml"
    mine.write_text("<ForceField/>")
    pinned = with_digests(Input(force_field=[str(mine), "amber14-all.xml"]))
    assert list(pinned.sha256) == [str(mine)]
