from __future__ import annotations

import openmm as mm
import pytest

from hpcflow.ensembles.openmm.configuration import PlatformOptions
from hpcflow.ensembles.openmm.platform import (
    FASTEST_FIRST,
    SMALL,
    choose_platform,
    properties_of,
    why_not,
)
from hpcflow.errors import RequestError


def _system(particles: int) -> mm.System:
    system = mm.System()
    for _ in range(particles):
        system.addParticle(1.0)
    return system


def test_auto_takes_a_platform_that_works() -> None:
    chosen = choose_platform(PlatformOptions(), _system(SMALL + 1))
    assert chosen == next(name for name in FASTEST_FIRST if why_not(name) is None)


@pytest.mark.skipif(
    any(why_not(name) is None for name in ("CUDA", "HIP", "OpenCL")), reason="a GPU comes first"
)
def test_auto_computes_few_particles_on_reference_and_more_on_cpu() -> None:
    assert choose_platform(PlatformOptions(), _system(SMALL)) == "Reference"
    assert choose_platform(PlatformOptions(), _system(SMALL + 1)) == "CPU"


def test_a_named_platform_is_taken() -> None:
    assert choose_platform(PlatformOptions(name="CPU"), _system(1)) == "CPU"


@pytest.mark.skipif(why_not("HIP") is None, reason="HIP works here")
def test_a_named_platform_that_does_not_work_is_refused_with_the_reason() -> None:
    with pytest.raises(RequestError, match="cannot compute on platform 'HIP': OpenMM says"):
        choose_platform(PlatformOptions(name="HIP"), _system(1))


def test_the_cpu_platform_takes_the_cores_of_its_slot() -> None:
    assert properties_of("CPU", precision="mixed", threads=6)["Threads"] == "6"


def test_a_gpu_is_the_only_one_that_its_slot_sees() -> None:
    assert properties_of("CUDA", precision="single", threads=6) == {
        "DeviceIndex": "0",
        "Precision": "single",
    }
