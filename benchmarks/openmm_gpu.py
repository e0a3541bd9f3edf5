"""Measure OpenMM on one NVIDIA GPU, through the farm and plain: ns/day of 1, 2 and 4 at once.

    python -m benchmarks.openmm_gpu [--output FILE]

Solvated alanine dipeptide, built and simulated by hpcflow's OpenMM ensemble. Plain is as many
processes as there are slots, each of which runs the same segments one after the other by the same
function, without a farm; both write the same files. The clock starts when each slot or process has
simulated a first segment. Farm and plain alternate; figures are medians over the rounds.

Without an NVIDIA GPU it says so and ends with exit code 2. With another `--platform` it measures on
the cores of this machine, which tries the measurement out and says nothing of GPUs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import click
import msgspec

from benchmarks.measuring import Figures, machine, medians, show, write
from benchmarks.peer import ROOT, Peer, wait_for_the_start
from hpcflow import Farm
from hpcflow.core.resources import share_cores
from hpcflow.ensembles.openmm.build import Built, build
from hpcflow.ensembles.openmm.configuration import OpenMMConfiguration, PlatformOptions, resolved
from hpcflow.ensembles.openmm.platform import properties_of, why_not
from hpcflow.ensembles.openmm.prepared import load_prepared, save_prepared
from hpcflow.ensembles.openmm.records import SegmentRequest
from hpcflow.ensembles.openmm.segment import Resources, place, run_segment, simulation_of
from hpcflow.ensembles.openmm.task import PRELOAD, load_system, simulate

Platform = Literal["CUDA", "OpenCL", "CPU", "Reference"]
_PLATFORM = click.Choice(["CUDA", "OpenCL", "CPU", "Reference"])
TIMESTEP_FS = 2.0
_FORCE_FIELDS = {
    "explicit": ["amber99sbildn.xml", "tip3p.xml"],
    "implicit": ["amber99sbildn.xml", "amber99_obc.xml"],
}
_EXIT_NO_GPU = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is simulated, and where."""

    system: Path
    platform: Platform
    steps: int
    """Of a segment."""
    segments: int
    """For each slot or process."""

    @property
    def on_gpu(self) -> bool:
        """Whether the GPU computes."""
        return self.platform in {"CUDA", "OpenCL"}

    def request(self, replica: int) -> SegmentRequest:
        """Return a segment from the common start, with velocities of its own."""
        return SegmentRequest(
            replica=replica,
            segment=0,
            temperature_k=300.0,
            friction_per_ps=1.0,
            timestep_fs=TIMESTEP_FS,
            steps=self.steps,
            report_steps=self.steps // 10,
            minimize=False,
            equilibration_steps=0,
            trajectory="dcd",
            prior=None,
        )

    def ns_per_day(self, width: int, took_s: float) -> float:
        """Return what `width` slots or processes have simulated together [ns/day]."""
        return width * self.segments * self.steps * TIMESTEP_FS * 1e-6 / took_s * 86400


def through_farm(case: Case, width: int) -> float:
    """Return the aggregate speed of `width` slots [ns/day]."""
    with (
        tempfile.TemporaryDirectory() as base,
        Farm(
            slots=width, devices=("0",) if case.on_gpu else (), run=Path(base) / "run", seed=1
        ) as farm,
    ):
        farm.preload(PRELOAD, load_system, str(case.system), PlatformOptions(name=case.platform))
        farm.wait_for_slots()
        for outcome in farm.map(simulate, [case.request(n) for n in range(width)], stage="first"):
            outcome.result()
        requests = [case.request(n) for n in range(width * case.segments)]
        began = time.perf_counter()
        for outcome in farm.map(simulate, requests, stage="measured"):
            outcome.result()
        return case.ns_per_day(width, time.perf_counter() - began)


def plain(case: Case, width: int) -> float:
    """Return the aggregate speed of `width` processes [ns/day]."""
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as stack:
        peers = []
        for number in range(width):
            options = ("--number", str(number), "--width", str(width), "--directory", base)
            of = ("--system", case.system, "--platform", case.platform)
            lengths = ("--steps", str(case.steps), "--segments", str(case.segments))
            peers.append(
                Peer(
                    *("-m", "benchmarks.openmm_gpu", "plain", *options, *of, *lengths),
                    log=Path(base) / "log",
                    environment={"CUDA_VISIBLE_DEVICES": "0"} if case.on_gpu else {},
                )
            )
            stack.callback(peers[-1].close)
        for peer in peers:
            peer.wait_for("ready")
        began = time.perf_counter()
        for peer in peers:
            peer.begin()
        for peer in peers:
            peer.wait_for("done")
        return case.ns_per_day(width, time.perf_counter() - began)


def simulate_plain(case: Case, *, number: int, width: int, directory: Path) -> None:
    """Be one of the plain processes."""
    cores = share_cores(sorted(os.sched_getaffinity(0)), width)[number].cores
    os.sched_setaffinity(0, cores)
    prepared = load_prepared(str(case.system))

    def segment(replica: int) -> None:
        own = directory / f"replica-{replica}"
        own.mkdir(exist_ok=True)
        resources = Resources(
            platform=case.platform,
            properties=properties_of(case.platform, precision="mixed", threads=len(cores)),
            directory=own,
            seed=replica,
        )
        run_segment(case.request(replica), prepared, resources=resources, prior=None)

    first = number * case.segments
    segment(first)
    wait_for_the_start()
    for replica in range(first, first + case.segments):
        segment(replica)
    print("done", flush=True)


def prepare(directory: Path, platform: Platform, *, solvent: str, padding_nm: float) -> int:
    """Build, minimize and warm up the System into a directory; return its number of particles."""
    explicit = {"solvent": "explicit", "padding_nm": padding_nm}
    configuration = {
        "input": {"pdb": "alanine-dipeptide.pdb", "force_field": _FORCE_FIELDS[solvent]},
        "system": explicit if solvent == "explicit" else {"solvent": "implicit"},
        "thermostat": {"temperature_k": 300},
        "segments": {"number": 1, "steps": 100},
        "output": {"steps": 10},
    }
    asked = msgspec.convert(configuration, OpenMMConfiguration)
    built = build(resolved(asked, ROOT / "configs" / "runs"))
    save_prepared(built, directory / "cold")
    cold = load_prepared(str(directory / "cold"))
    case = Case(system=directory, platform=platform, steps=1000, segments=1)
    threads = len(os.sched_getaffinity(0))
    properties = properties_of(platform, precision="mixed", threads=threads)
    resources = Resources(platform=platform, properties=properties, directory=directory, seed=1)
    simulation = simulation_of(case.request(0), cold, resources)
    place(simulation, cold.initial)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300.0, 1)
    simulation.step(case.steps)
    state = simulation.context.getState(positions=True, velocities=True, parameters=True)
    warm = Built(system=built.system, topology=built.topology, state=state)
    save_prepared(warm, directory / "system")
    return int(built.system.getNumParticles())


def gpu() -> str | None:
    """Return what the NVIDIA driver says that this machine has; None without."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    answer = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _refuse(reason: str) -> None:
    print(f"nothing is measured: {reason}")
    sys.exit(_EXIT_NO_GPU)


@click.group(invoke_without_command=True)
@click.option(
    "--platform",
    type=_PLATFORM,
    default="CUDA",
    show_default=True,
)
@click.option(
    "--solvent", type=click.Choice(list(_FORCE_FIELDS)), default="explicit", show_default=True
)
@click.option("--padding-nm", default=2.0, show_default=True, help="Water around the solute.")
@click.option("--slots", "widths", type=int, multiple=True, default=(1, 2, 4), show_default=True)
@click.option("--steps", default=50_000, show_default=True, help="Of a segment; a multiple of 10.")
@click.option("--segments", default=4, show_default=True, help="For each slot or process.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of plain and farm.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
@click.pass_context
def main(
    context: click.Context,
    *,
    platform: Platform,
    solvent: str,
    padding_nm: float,
    widths: Sequence[int],
    steps: int,
    segments: int,
    rounds: int,
    output: Path | None,
) -> None:
    """Measure OpenMM through the farm and plain, on one NVIDIA GPU."""
    if context.invoked_subcommand is not None:
        return
    found = gpu()
    if platform in {"CUDA", "OpenCL"} and found is None:
        _refuse("this machine has no NVIDIA GPU (`--platform CPU` tries the measurement out)")
    if (reason := why_not(platform)) is not None:
        _refuse(f"OpenMM's platform {platform} does not work here: {reason}")
    with tempfile.TemporaryDirectory() as base:
        particles = prepare(Path(base), platform, solvent=solvent, padding_nm=padding_nm)
        system = Path(base) / "system"
        case = Case(system=system, platform=platform, steps=steps, segments=segments)
        measured: dict[str, list[Figures]] = {str(width): [] for width in widths}
        for number in range(rounds):
            for width in widths:
                print(f"round {number + 1} of {rounds}: {width}", file=sys.stderr, flush=True)
                alone, farm = plain(case, width), through_farm(case, width)
                measured[str(width)].append(
                    {
                        "plain [ns/day]": alone,
                        "farm [ns/day]": farm,
                        "farm's overhead [%]": 100 * (1 - farm / alone),
                    }
                )
    figures = medians(measured)
    title = f"{particles:,} particles on {platform}: medians of {rounds} rounds"
    show(title, figures, first="at once")
    where = {**machine(), "openmm": version("openmm"), "gpu": found, "particles": particles}
    write(output, {"machine": where, "medians": figures, "rounds": measured})


@main.command("plain")
@click.option("--number", type=int, required=True)
@click.option("--width", type=int, required=True)
@click.option("--directory", type=click.Path(path_type=Path), required=True)
@click.option("--system", type=click.Path(path_type=Path), required=True)
@click.option("--platform", type=_PLATFORM, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--segments", type=int, required=True)
def plain_process(
    *,
    number: int,
    width: int,
    directory: Path,
    system: Path,
    platform: Platform,
    steps: int,
    segments: int,
) -> None:
    """Be one plain process of the measurement."""
    case = Case(system=system, platform=platform, steps=steps, segments=segments)
    simulate_plain(case, number=number, width=width, directory=directory)


if __name__ == "__main__":
    main()
