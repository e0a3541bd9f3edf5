"""Build the OpenMM System that an input describes, with the positions that it starts from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import openmm as mm
from openmm import app, unit

from hpcflow.ensembles.openmm.checks import InputKind, kind_of
from hpcflow.ensembles.openmm.configuration import OpenMMConfiguration, SystemOptions
from hpcflow.ensembles.openmm.observables import Thermometer
from hpcflow.errors import HpcflowError, RequestError, hint

_CONSTRAINTS = {
    "none": None,
    "hbonds": app.HBonds,
    "allbonds": app.AllBonds,
    "hangles": app.HAngles,
}
_AMBER_MODELS = {
    "hct": app.HCT,
    "obc1": app.OBC1,
    "obc2": app.OBC2,
    "gbn": app.GBn,
    "gbn2": app.GBn2,
}
_IMPLICIT_FORCES = (mm.GBSAOBCForce, mm.CustomGBForce, mm.AmoebaGeneralizedKirkwoodForce)
_ION_SEED = 0
"""Ions replace waters picked at random: the same ones each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A System, what its atoms are called, and where they start."""

    system: mm.System
    topology: app.Topology
    state: mm.State
    """Positions, box and parameters; no velocities."""


@dataclass(slots=True, kw_only=True)
class _Molecules:
    """What an input holds before it is checked by a Context."""

    system: mm.System
    topology: app.Topology
    positions: Any
    box: Any = None
    parameters: dict[str, float]


def build(configuration: OpenMMConfiguration) -> Built:
    """Read the input files and build the System.

    Raises
    ------
    RequestError
        If OpenMM refuses a file or their combination; gives its reason.
    """
    check_force_fields(configuration)
    options = configuration.system
    molecules = _read(configuration)
    if kind_of(configuration.input) is not InputKind.XML:
        _check_solvent(molecules.system, options)
    _check_dynamics(molecules.system)
    if options.pressure_bar is not None:
        # The barostat's temperature is a parameter of the Context: each replica sets its own.
        molecules.system.addForce(mm.MonteCarloBarostat(options.pressure_bar, 300.0))
    return Built(
        system=molecules.system,
        topology=molecules.topology,
        state=_initial_state(molecules),
    )


def check_force_fields(configuration: OpenMMConfiguration) -> None:
    """Refuse a force field that is neither a file beside the configuration nor shipped.

    Raises
    ------
    RequestError
        If one is; names the nearest of those that OpenMM ships.
    """
    for name in configuration.input.force_field:
        if not Path(name).is_file() and not any((root / name).is_file() for root in _shipped()):
            known = [str(path.relative_to(root)) for root in _shipped() for path in _xml(root)]
            raise RequestError(
                f"cannot find force field {name!r}: it is no file beside the configuration, and"
                f" OpenMM ships none of that name; {hint(name, known)} Correct it in"
                " input.force_field."
            )


def _read(configuration: OpenMMConfiguration) -> _Molecules:
    given = configuration.input
    match kind_of(given):
        case InputKind.PDB:
            with _Refusing(f"build a System from {given.pdb!r} with {given.force_field}"):
                return _from_pdb(configuration)
        case InputKind.AMBER:
            with _Refusing(f"build a System from {given.prmtop!r} and {given.inpcrd!r}"):
                return _from_amber(configuration)
        case InputKind.XML:
            with _Refusing(f"read a System from {given.system_xml!r} and {given.state_xml!r}"):
                return _from_xml(configuration)


def _from_pdb(configuration: OpenMMConfiguration) -> _Molecules:
    given, options = configuration.input, configuration.system
    names = list(given.force_field)
    model = f"implicit/{options.implicit_model}.xml"
    if options.implicit_model is not None and model not in names:
        names.append(model)
    force_field = app.ForceField(*names)
    structure = _structure(given.pdb)
    topology, positions = structure.topology, structure.positions
    if options.padding_nm is not None:
        topology, positions = _solvated(force_field, structure, options)
    system = force_field.createSystem(topology, **_arguments(options, topology))
    return _Molecules(system=system, topology=topology, positions=positions, parameters={})


def _from_amber(configuration: OpenMMConfiguration) -> _Molecules:
    given, options = configuration.input, configuration.system
    coordinates = app.AmberInpcrdFile(given.inpcrd)
    box = coordinates.boxVectors
    prmtop = app.AmberPrmtopFile(given.prmtop, periodicBoxVectors=box)
    arguments = _arguments(options, prmtop.topology)
    if options.implicit_model is not None:
        arguments["implicitSolvent"] = _AMBER_MODELS[options.implicit_model]
    return _Molecules(
        system=prmtop.createSystem(**arguments),
        topology=prmtop.topology,
        positions=coordinates.positions,
        box=box,
        parameters={},
    )


def _from_xml(configuration: OpenMMConfiguration) -> _Molecules:
    given = configuration.input
    assert given.system_xml is not None
    assert given.state_xml is not None
    system = mm.XmlSerializer.deserialize(Path(given.system_xml).read_text(encoding="utf-8"))
    state = mm.XmlSerializer.deserialize(Path(given.state_xml).read_text(encoding="utf-8"))
    for value, kind in ((system, mm.System), (state, mm.State)):
        if not isinstance(value, kind):
            raise RequestError(
                f"cannot use {given.system_xml!r} and {given.state_xml!r}: where a {kind.__name__}"
                f" belongs stands a {type(value).__name__}. Give a System and a State."
            )
    count = system.getNumParticles()
    has_parameters = state.getDataTypes() & mm.State.Parameters
    topology = bare_topology(system) if given.pdb is None else _structure(given.pdb).topology
    if topology.getNumAtoms() != count:
        raise RequestError(
            f"cannot name the atoms of {given.system_xml!r} by {given.pdb!r}: it has"
            f" {topology.getNumAtoms()} atoms, the System {count}. Give the"
            " PDB file that belongs to it."
        )
    return _Molecules(
        system=system,
        topology=topology,
        positions=state.getPositions(),
        box=state.getPeriodicBoxVectors(),
        parameters=dict(state.getParameters()) if has_parameters else {},
    )


def bare_topology(system: mm.System) -> app.Topology:
    """Return a topology of as many nameless atoms as the System has particles, with its box."""
    topology = app.Topology()
    residue = topology.addResidue("UNK", topology.addChain())
    for position in range(system.getNumParticles()):
        topology.addAtom(f"X{position + 1}", None, residue)
    if system.usesPeriodicBoundaryConditions():
        topology.setPeriodicBoxVectors(system.getDefaultPeriodicBoxVectors())
    return topology


def _structure(name: str | None) -> Any:
    path = str(name)
    reader = app.PDBxFile if path.lower().endswith((".cif", ".pdbx", ".mmcif")) else app.PDBFile
    return reader(path)


def _solvated(force_field: Any, structure: Any, options: SystemOptions) -> tuple[Any, Any]:
    modeller = app.Modeller(structure.topology, structure.positions)
    drawn_so_far = random.getstate()
    random.seed(_ION_SEED)
    try:
        modeller.addSolvent(
            force_field,
            model=options.water_model,
            padding=options.padding_nm * unit.nanometer,
            ionicStrength=options.ionic_strength_molar * unit.molar,
        )
    finally:
        random.setstate(drawn_so_far)
    return modeller.topology, modeller.positions


def _arguments(options: SystemOptions, topology: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "nonbondedMethod": app.NoCutoff,
        "constraints": _CONSTRAINTS[options.constraints],
        "rigidWater": options.rigid_water,
    }
    if options.hydrogen_mass_amu is not None:
        arguments["hydrogenMass"] = options.hydrogen_mass_amu * unit.dalton
    if options.solvent == "explicit":
        if topology.getPeriodicBoxVectors() is None:
            raise RequestError(
                "cannot simulate in explicit solvent: the input has no periodic box. Let it have"
                " one (CRYST1 in a PDB file), or add water by system.padding_nm."
            )
        arguments["nonbondedMethod"] = app.PME
        arguments["nonbondedCutoff"] = options.cutoff_nm * unit.nanometer
    return arguments


def _check_solvent(system: mm.System, options: SystemOptions) -> None:
    """Refuse a System whose implicit solvent is not what the configuration says."""
    brought = [
        force.getName() for force in system.getForces() if isinstance(force, _IMPLICIT_FORCES)
    ]
    if brought and options.solvent != "implicit":
        raise RequestError(
            f"cannot simulate with system.solvent = {options.solvent!r}: the force field brings an"
            f" implicit solvent ({brought[0]}). Set it to 'implicit', or remove that file."
        )
    if not brought and options.solvent == "implicit":
        raise RequestError(
            "cannot simulate in implicit solvent: the force field brings none. Name"
            " system.implicit_model, or a file that has one, such as 'implicit/obc2.xml'."
        )


def _check_dynamics(system: mm.System) -> None:
    if (free := Thermometer(system).degrees_of_freedom) < 1:
        raise RequestError(
            f"cannot keep the temperature of the System: it has {free} degrees of freedom. Give its"
            " particles mass and fewer constraints."
        )
    for force in system.getForces():
        if isinstance(force, mm.AndersenThermostat):
            raise RequestError(
                "cannot simulate a System with an AndersenThermostat: Langevin dynamics already"
                " keeps the temperature. Remove that force from the System."
            )


def _initial_state(molecules: _Molecules) -> mm.State:
    """Return the State to start from, by way of a Context, which checks the System on its way."""
    with _Refusing("simulate the System that the input describes"):
        platform = mm.Platform.getPlatformByName("Reference")
        context = mm.Context(molecules.system, mm.VerletIntegrator(0.001), platform)
        if molecules.box is not None and molecules.system.usesPeriodicBoundaryConditions():
            context.setPeriodicBoxVectors(*molecules.box)
        context.setPositions(molecules.positions)
        context.computeVirtualSites()
        for name, value in molecules.parameters.items():
            if name in context.getParameters():
                context.setParameter(name, value)
        return context.getState(positions=True, parameters=True)


def _shipped() -> Iterator[Path]:
    """Yield the directories in which OpenMM finds force fields by name."""
    yield Path(app.__file__).parent / "data"
    for entry in entry_points(group="openmm.forcefielddir"):
        yield Path(entry.load()())


def _xml(root: Path) -> Iterator[Path]:
    yield from root.glob("**/*.xml")


class _Refusing(AbstractContextManager[None]):
    """Turns whatever OpenMM raises into a RequestError with OpenMM's reason.

    OpenMM's readers raise plain `Exception`, IndexError, TypeError... at a malformed file.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, HpcflowError):
            reason = (str(error) or type(error).__name__).removesuffix(".")
            raise RequestError(
                f"cannot {self._what}: OpenMM says {reason!r}. Correct the input."
            ) from error
