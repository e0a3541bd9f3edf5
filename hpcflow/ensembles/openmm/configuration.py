"""What a run configuration can say about an OpenMM ensemble: tables, defaults and their rules.

Nothing here needs OpenMM: a configuration is read, resolved and stored without it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from hpcflow.errors import RequestError

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

PlatformName = Literal["auto", "CUDA", "HIP", "OpenCL", "CPU", "Reference"]
Precision = Literal["single", "mixed", "double"]
TrajectoryFormat = Literal["dcd", "xtc"]

_WHOLE = 1e-6
"""How far a length over its step may be from a whole number: decimal fractions are inexact."""


_FEWEST_FRAMES = 2
"""A standard error needs two samples."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: closed, so that a misspelt key is an error."""


class Input(Table, frozen=True, kw_only=True):
    """Where the molecules come from: exactly one of three kinds of input.

    - `pdb` (or mmCIF) and `force_field`;
    - `prmtop` and `inpcrd`, from Amber;
    - `system_xml` and `state_xml`, written by OpenMM, with `pdb` for the names of the atoms.
    """

    pdb: str | None = None
    force_field: list[str] = []
    """Force field files: next to the configuration, or shipped with OpenMM."""
    prmtop: str | None = None
    inpcrd: str | None = None
    system_xml: str | None = None
    state_xml: str | None = None
    sha256: dict[str, str] = {}
    """Digest of each input file, by its path. Written when a run begins; a file that has another
    digest by the time the run is resumed is refused."""


class SystemOptions(Table, frozen=True, kw_only=True):
    """How the System is built. None of it applies to a System that comes as XML."""

    solvent: Literal["none", "implicit", "explicit"] = "none"
    """Explicit is periodic, with particle-mesh Ewald electrostatics."""
    implicit_model: Literal["hct", "obc1", "obc2", "gbn", "gbn2"] | None = None
    """Generalized Born model. Not needed where a force field file brings one."""
    cutoff_nm: Positive = 1.0
    """Of direct interactions in explicit solvent [nm]."""
    padding_nm: NotNegative | None = None
    """Add water around the solute, this far to the box [nm]; without it the input has its own."""
    water_model: Literal["tip3p", "spce", "tip4pew", "tip5p"] = "tip3p"
    """Geometry of the water that is added."""
    ionic_strength_molar: NotNegative = 0.0
    """Of the water that is added, beyond the ions that neutralize the solute [mol/l]."""
    pressure_bar: Positive | None = None
    """Keep this pressure by a Monte Carlo barostat [bar]; without it the volume is kept."""
    constraints: Literal["none", "hbonds", "allbonds", "hangles"] = "hbonds"
    rigid_water: bool = True
    hydrogen_mass_amu: Positive | None = None
    """Repartition mass to hydrogens from their heavy atoms [dalton]."""


class Ladder(Table, frozen=True, kw_only=True):
    """Temperatures in geometric progression, one replica each."""

    lowest_k: Positive
    highest_k: Positive
    replicas: Annotated[int, msgspec.Meta(ge=2)]


class Thermostat(Table, frozen=True, kw_only=True):
    """Langevin dynamics in the middle scheme (Zhang et al. 2019, J. Phys. Chem. A 123, 6056)."""

    temperature_k: Positive | list[Positive] | Ladder
    replicas_per_temperature: Count = 1
    friction_per_ps: Positive = 1.0


class Segments(Table, frozen=True, kw_only=True):
    """What each replica does: minimize and equilibrate once, then segments of equal length."""

    number: Count
    length_ps: Positive | None = None
    """Length of a segment [ps]; or give `steps`."""
    steps: Count | None = None
    timestep_fs: Positive = 2.0
    minimize: bool = True
    equilibration_ps: NotNegative = 0.0
    """Before the first segment, at its replica's temperature; not recorded [ps]."""


class Output(Table, frozen=True, kw_only=True):
    """What a segment writes, and how often."""

    interval_ps: Positive | None = None
    """Time from one frame to the next [ps]; or give `steps`."""
    steps: Count | None = None
    trajectory: TrajectoryFormat = "dcd"


class PlatformOptions(Table, frozen=True, kw_only=True):
    """Which of OpenMM's platforms computes, and how exactly."""

    name: PlatformName = "auto"
    """`auto` takes the first of CUDA, HIP, OpenCL, CPU, Reference that works on the slot."""
    precision: Precision = "mixed"
    """Of the platforms for GPUs; the others have but one."""


class OpenMMConfiguration(Table, frozen=True, kw_only=True):
    """Everything that an OpenMM ensemble is made from."""

    input: Input
    system: SystemOptions = SystemOptions()
    thermostat: Thermostat
    segments: Segments
    output: Output
    platform: PlatformOptions = PlatformOptions()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration's numbers, as the segments use them."""

    temperatures_k: tuple[float, ...]
    """One a replica."""
    segments: int
    steps: int
    """Length of a segment."""
    report_steps: int
    """From one frame to the next."""
    equilibration_steps: int


def plan_of(configuration: OpenMMConfiguration) -> Plan:
    """Return temperatures and lengths in steps.

    Raises
    ------
    RequestError
        If a length is given twice, not at all, or is no whole number of steps, or the frames do
        not divide a segment.
    """
    segments, output = configuration.segments, configuration.output
    step_fs = segments.timestep_fs
    steps = _length("segments", {"length_ps": segments.length_ps, "steps": segments.steps}, step_fs)
    every = _length("output", {"interval_ps": output.interval_ps, "steps": output.steps}, step_fs)
    if steps % every or steps // every < _FEWEST_FRAMES:
        raise RequestError(
            f"cannot report every {every} steps of segments of {steps}: a segment holds a whole"
            " number of frames, two at least. Change `output` or the length of `segments`."
        )
    return Plan(
        temperatures_k=temperatures(configuration.thermostat),
        segments=segments.number,
        steps=steps,
        report_steps=every,
        equilibration_steps=_steps("segments.equilibration_ps", segments.equilibration_ps, step_fs),
    )


def temperatures(thermostat: Thermostat) -> tuple[float, ...]:
    """Return the temperature of each replica [K], replicas of one temperature side by side.

    Examples
    --------
    >>> temperatures(Thermostat(temperature_k=[300.0, 310.0], replicas_per_temperature=2))
    (300.0, 300.0, 310.0, 310.0)
    >>> ladder = Ladder(lowest_k=300.0, highest_k=363.0, replicas=3)
    >>> [round(t, 2) for t in temperatures(Thermostat(temperature_k=ladder))]
    [300.0, 330.0, 363.0]
    """
    match thermostat.temperature_k:
        case Ladder() as ladder:
            distinct = _rungs(ladder)
        case list() as given:
            distinct = list(given)
        case one:
            distinct = [one]
    if not distinct:
        raise RequestError(
            "cannot simulate at thermostat.temperature_k = []: an ensemble has at least one"
            " temperature. Name one, in kelvin."
        )
    return tuple(float(t) for t in distinct for _ in range(thermostat.replicas_per_temperature))


def resolved(configuration: OpenMMConfiguration, base: Path) -> OpenMMConfiguration:
    """Return `configuration` with the paths of its files made absolute, relative to `base`.

    A force field that is no file there keeps its name: OpenMM may ship it.
    """
    given = configuration.input

    def absolute(name: str | None) -> str | None:
        return None if name is None else str((base / name).absolute())

    here = msgspec.structs.replace(
        given,
        pdb=absolute(given.pdb),
        prmtop=absolute(given.prmtop),
        inpcrd=absolute(given.inpcrd),
        system_xml=absolute(given.system_xml),
        state_xml=absolute(given.state_xml),
        force_field=[
            str((base / name).absolute()) if (base / name).is_file() else name
            for name in given.force_field
        ],
        sha256={str((base / name).absolute()): sha for name, sha in given.sha256.items()},
    )
    return msgspec.structs.replace(configuration, input=here)


def _rungs(ladder: Ladder) -> list[float]:
    low, high, count = ladder.lowest_k, ladder.highest_k, ladder.replicas
    if high <= low:
        raise RequestError(
            f"cannot make a temperature ladder from {low:g} K to {high:g} K: it goes up. Let"
            " highest_k be above lowest_k."
        )
    inner = [low * (high / low) ** (rung / (count - 1)) for rung in range(1, count - 1)]
    return [low, *inner, high]


def _length(table: str, options: dict[str, float | None], timestep_fs: float) -> int:
    """Return the one length that is given, in steps; `options` are a time [ps] and `steps`."""
    given = {name: value for name, value in options.items() if value is not None}
    names = " and ".join(repr(name) for name in options)
    if len(given) != 1:
        raise RequestError(
            f"cannot tell the length in table {table!r}: {len(given)} of {names} are given."
            " Give one of them."
        )
    [(name, value)] = given.items()
    return int(value) if name == "steps" else _steps(f"{table}.{name}", value, timestep_fs)


def _steps(name: str, time_ps: float, timestep_fs: float) -> int:
    exact = time_ps * 1000 / timestep_fs
    steps = round(exact)
    if not math.isclose(exact, steps, rel_tol=0, abs_tol=_WHOLE * max(1, steps)):
        raise RequestError(
            f"cannot simulate {name} = {time_ps:g} ps: it is {exact:g} steps of"
            f" {timestep_fs:g} fs, and must be a whole number. Change one of them."
        )
    return steps
