"""Choose the OpenMM platform that computes."""

from __future__ import annotations

import openmm as mm

from hpcflow.ensembles.openmm.configuration import PlatformOptions
from hpcflow.errors import RequestError

FASTEST_FIRST = ("CUDA", "HIP", "OpenCL", "CPU", "Reference")
_GPU = frozenset({"CUDA", "HIP", "OpenCL"})
SMALL = 50
"""Particles up to which Reference is faster than CPU when there is no cutoff. Handing each step to
threads costs CPU more than the forces of so few: for alanine dipeptide with 22 particles and
GBSAOBCForce 600 us a step were measured on one core, and 29 us for Reference."""


def choose_platform(options: PlatformOptions, system: mm.System) -> str:
    """Return the name of the platform to compute on, in this process.

    A named platform must work. `auto` takes the first of `FASTEST_FIRST` that does, but
    Reference before CPU for a small System that is not periodic.

    Raises
    ------
    RequestError
        If the named platform does not work here.
    """
    if options.name != "auto":
        if (reason := why_not(options.name)) is not None:
            raise RequestError(
                f"cannot compute on platform {options.name!r}: OpenMM says {reason!r}. Install its"
                " driver and plugin, or set platform.name to 'auto'."
            )
        return options.name
    small = system.getNumParticles() <= SMALL and not system.usesPeriodicBoundaryConditions()
    for name in FASTEST_FIRST:
        if why_not(name) is None:
            return "Reference" if small and name == "CPU" else name
    return "Reference"


def why_not(name: str) -> str | None:
    """Return why a platform does not work in this process, or None if it does.

    It is tried, on one particle: a platform may be installed and find no device, or a driver of
    another version.
    """
    system = mm.System()
    system.addParticle(1.0)
    try:
        platform = mm.Platform.getPlatformByName(name)
        mm.Context(system, mm.VerletIntegrator(0.001), platform).setPositions([mm.Vec3(0, 0, 0)])
    except mm.OpenMMException as error:
        return str(error).removesuffix(".")
    return None


def properties_of(name: str, *, precision: str, threads: int) -> dict[str, str]:
    """Return the platform's properties for one slot.

    Parameters
    ----------
    name
        The platform.
    precision
        Of a GPU's arithmetic: `single`, `mixed` or `double`.
    threads
        Cores that the slot may use.

    Notes
    -----
    A slot sees no GPU but its own, which therefore has index 0.
    """
    if name in _GPU:
        return {"DeviceIndex": "0", "Precision": precision}
    if name == "CPU":
        return {"Threads": str(threads), "DeterministicForces": "true"}
    return {}
