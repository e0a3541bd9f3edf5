"""Refuse, before anything starts, a configuration that cannot be met.

What can be known without OpenMM is checked here; the rest by building the System
(`hpcflow.ensembles.openmm.build`).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path

import msgspec

from hpcflow.ensembles.openmm.configuration import Input, OpenMMConfiguration, SystemOptions
from hpcflow.errors import RequestError


class InputKind(StrEnum):
    """The three ways in which people hand over molecules."""

    PDB = "pdb and force_field"
    AMBER = "prmtop and inpcrd"
    XML = "system_xml and state_xml"


def kind_of(given: Input) -> InputKind:
    """Return which kind of input is given.

    Raises
    ------
    RequestError
        If it is not exactly one, or half of one.
    """
    files = {
        InputKind.AMBER: {"prmtop": given.prmtop, "inpcrd": given.inpcrd},
        InputKind.XML: {"system_xml": given.system_xml, "state_xml": given.state_xml},
    }
    begun = [kind for kind, names in files.items() if any(names.values())]
    # A PDB file goes with XML too, for the names of the atoms.
    if given.force_field or (given.pdb and begun != [InputKind.XML]):
        begun.append(InputKind.PDB)
        files[InputKind.PDB] = {"pdb": given.pdb, "force_field": "".join(given.force_field)}
    if len(begun) != 1:
        raise RequestError(
            f"cannot tell the molecules from table 'input': it names"
            f" {' and '.join(begun) or 'none'} of the three kinds of input. Give one:"
            f" {', or '.join(InputKind)}."
        )
    [kind] = begun
    for name, value in files[kind].items():
        if not value:
            raise RequestError(
                f"cannot read the molecules: input.{name} is missing from the input of"
                f" {kind}. Give both."
            )
    return kind


def input_files(given: Input) -> dict[str, Path]:
    """Return the input files by the name of their option; force fields that are shipped not."""
    options = {
        "pdb": given.pdb,
        "prmtop": given.prmtop,
        "inpcrd": given.inpcrd,
        "system_xml": given.system_xml,
        "state_xml": given.state_xml,
    }
    files = {f"input.{option}": Path(name) for option, name in options.items() if name is not None}
    for position, name in enumerate(given.force_field):
        if Path(name).is_absolute():
            files[f"input.force_field (item {position + 1})"] = Path(name)
    return files


def with_digests(given: Input) -> Input:
    """Return the input with the digest of each of its files.

    Raises
    ------
    RequestError
        If a file cannot be read, or has not the digest that was recorded for it.
    """
    found = {}
    for option, path in input_files(given).items():
        found[str(path)] = digest = _digest(option, path)
        if given.sha256.get(str(path), digest) != digest:
            raise RequestError(
                f"cannot use {option} {str(path)!r}: it is not the file that the run began with"
                f" (SHA-256 {digest[:12]}..., then {given.sha256[str(path)][:12]}...). Put the"
                " file back, or start another run."
            )
    return msgspec.structs.replace(given, sha256=found)


def check_options(configuration: OpenMMConfiguration) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    RequestError
        If two do.
    """
    kind, options = kind_of(configuration.input), configuration.system
    if kind is InputKind.XML and options != SystemOptions():
        raise RequestError(
            "cannot apply table 'system' to a System that comes as XML: solvent, constraints and"
            " masses are part of it. Remove the table."
        )
    if options.implicit_model is not None and options.solvent != "implicit":
        raise RequestError(
            f"cannot use implicit_model = {options.implicit_model!r}: system.solvent is"
            f" {options.solvent!r}. Set it to 'implicit', or remove the model."
        )
    if kind is InputKind.AMBER and options.solvent == "implicit" and not options.implicit_model:
        raise RequestError(
            "cannot build an implicit solvent for an Amber topology: it brings no model. Name"
            " system.implicit_model, such as 'obc2'."
        )
    if options.solvent != "explicit":
        _check_absent(options)
    if options.padding_nm is not None and kind is not InputKind.PDB:
        raise RequestError(
            f"cannot add water (system.padding_nm = {options.padding_nm:g}) to an input of {kind}:"
            " no force field says how water moves. Solvate it where it was made."
        )
    if options.ionic_strength_molar and options.padding_nm is None:
        raise RequestError(
            "cannot set system.ionic_strength_molar: no water is added to the input. Give"
            " system.padding_nm, or remove it."
        )


def _check_absent(options: SystemOptions) -> None:
    for name in ("padding_nm", "pressure_bar"):
        if getattr(options, name) is not None:
            raise RequestError(
                f"cannot use system.{name}: it needs a box, and system.solvent is"
                f" {options.solvent!r}. Set it to 'explicit', or remove {name}."
            )


def _digest(option: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RequestError(
            f"cannot read {option} {str(path)!r}: {(error.strerror or str(error)).lower()}."
            " Correct the path; it is relative to the configuration file."
        ) from None
