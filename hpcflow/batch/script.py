"""Render a batch script: a pure function of the request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import assert_never

from hpcflow.batch.direct import Direct
from hpcflow.batch.jsrun import Jsrun, JsrunExplicit
from hpcflow.batch.machine import Machine
from hpcflow.batch.request import Layout, Request, layout_of
from hpcflow.batch.srun import Srun
from hpcflow.batch.step import Launch, Step, StepLauncher
from hpcflow.batch.walltime import show_walltime
from hpcflow.errors import RequestError

SCRIPT = "batch.sh"
"""Name of the script in the run directory."""
QUORUM = 0.98
"""Share of the slots that the driver waits for; the others join while it runs."""
READY_WITHIN = "10m"
"""Longest wait for them."""

_CONTINUED = " \\\n    "


def launcher_of(machine: Machine) -> StepLauncher:
    """Return the machine's step launcher."""
    match machine.step_launcher:
        case "direct":
            return Direct()
        case "srun":
            return Srun(machine_has_gpus=machine.nodes.gpus > 0)
        case "jsrun":
            return JsrunExplicit() if machine.explicit_placement else Jsrun()
        case _:
            assert_never(machine.step_launcher)


def submission_of(request: Request) -> str:
    """Return the command that submits the script by hand."""
    script = shlex.quote(str(request.run / SCRIPT))
    program = {"local": "bash", "slurm": "sbatch", "lsf": "bsub"}[request.machine.batch_system]
    return f"{program} {script}"


def render(request: Request) -> str:
    """Return the batch script of a request that has been checked.

    It starts scheduler and workers as steps in the background, waits for the workers, and runs
    the driver, whose exit code is the batch job's.

    Raises
    ------
    RequestError
        If the request cannot be laid out on the machine's nodes.
    """
    layout, launcher = layout_of(request), launcher_of(request.machine)
    paragraphs = [
        ["#!/bin/bash", *_directives(request)],
        list(_explanation(request, layout)),
        list(_surroundings(request)),
        list(_logs(request, layout, launcher)),
        list(_scheduler(request, layout, launcher)),
        list(_workers(request, layout, launcher)),
        list(_driver(request, layout, launcher)),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"


def _directives(request: Request) -> Iterator[str]:
    machine, log = request.machine, request.run / "logs" / "batch"
    match machine.batch_system:
        case "local":
            return
        case "slurm":
            minutes, seconds = divmod(request.walltime_s, 60)
            yield f"#SBATCH --job-name={request.name}"
            if request.charged is not None:
                yield f"#SBATCH --account={request.charged}"
            yield f"#SBATCH --{machine.queue_option}={request.queue.name}"
            yield f"#SBATCH --nodes={request.nodes}"
            yield f"#SBATCH --time={minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
            yield "#SBATCH --exclusive"
            yield "#SBATCH --mem=0"
            yield "#SBATCH --no-kill"  # a node that fails takes its slots along, and no more
            if machine.nodes.gpus:
                yield f"#SBATCH --gpus-per-node={machine.nodes.gpus}"
            yield f"#SBATCH --output={log}-%j.log"
            yield from (f"#SBATCH {option}" for option in machine.batch_options)
        case "lsf":
            minutes = -(-request.walltime_s // 60)
            if request.charged is not None:
                yield f"#BSUB -P {request.charged}"
            yield f"#BSUB -W {minutes // 60}:{minutes % 60:02}"
            yield f"#BSUB -nnodes {request.nodes}"
            yield f"#BSUB -q {request.queue.name}"
            yield f"#BSUB -J {request.name}"
            yield f"#BSUB -o {log}-%J.log"
            yield from (f"#BSUB {option}" for option in machine.batch_options)
        case _:
            assert_never(machine.batch_system)


def _explanation(request: Request, layout: Layout) -> Iterator[str]:
    machine = request.machine
    time = show_walltime(request.walltime_s)
    yield f"# {_count(request.nodes, 'node')} of {machine.name} for {time}:"
    yield f"# {_count(layout.slots, 'slot')}, {layout.slots_per_node} on each node"
    if layout.first_slots != layout.slots_per_node:
        yield f"# but the first, which has {layout.first_slots or 'none'}"
    if layout.head_cores:
        yield f"# ({layout.head_cores} cores of the first are for scheduler and driver)"
    yield "# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with"
    yield f"#   {submission_of(request)}"


def _surroundings(request: Request) -> Iterator[str]:
    machine = request.machine
    if machine.setup:
        yield f"# What {machine.name} needs."
        yield from machine.setup
    yield f'export PATH={shlex.quote(str(request.programs))}:"$PATH"'
    yield f"export HPCFLOW_RUN={shlex.quote(str(request.run))}"
    yield f'export HPCFLOW_ENDS_AT="$(($(date +%s) + {request.walltime_s}))"'
    if machine.scratch is not None:
        yield f'export HPCFLOW_SCRATCH="{machine.scratch}"'
    yield "set -uo pipefail"
    yield f"cd -- {shlex.quote(str(request.directory))} || exit"


def _logs(request: Request, layout: Layout, launcher: StepLauncher) -> Iterator[str]:
    names = ",".join(["scheduler", *(s.name for s in _worker_steps(request, layout, launcher))])
    yield "# Only you can read what the steps print."
    make = 'mkdir -p "$HPCFLOW_RUN/logs"'
    yield f'(umask 077 && {make} && touch "$HPCFLOW_RUN"/logs/step-{{{names}}}.log)'


def _scheduler(request: Request, layout: Layout, launcher: StepLauncher) -> Iterator[str]:
    launch = launcher.launch(Step(name="scheduler", cores=max(1, layout.scheduler_cores)))
    yield "# The scheduler, on the first node."
    yield 'rm -f "$HPCFLOW_RUN/scheduler.json" # an earlier batch job may have left its own'
    yield from _background(launch, f"hpcflow scheduler {_common(request)}", "scheduler")
    yield 'steps=("$!")'
    yield "end_steps() {"
    yield f"    {launcher.end_steps}"
    yield "    for _ in {1..100}; do # 20 s to end in order"
    yield '        [[ -n "$(jobs -pr)" ]] || break'
    yield "        sleep 0.2"
    yield "    done"
    yield '    kill -KILL "${steps[@]}" 2> /dev/null'
    yield "    wait"
    yield "}"
    yield "trap end_steps EXIT"
    if launcher.places_in_order:
        yield "# jsrun places steps as they come: the scheduler's must have the first node."
        yield 'until [[ -e "$HPCFLOW_RUN/scheduler.json" ]]; do'
        yield '    kill -0 "${steps[0]}" 2> /dev/null || exit 1'
        yield "    sleep 1"
        yield "done"


def _workers(request: Request, layout: Layout, launcher: StepLauncher) -> Iterator[str]:
    which = "for each node" if request.worker_per == "node" else "for each slot"
    yield f"# One worker {which}."
    for step in _worker_steps(request, layout, launcher):
        options = f"{_common(request)} --worker-per {request.worker_per}"
        if request.slots_per_device > 1:
            options += f" --slots-per-device {request.slots_per_device}"
        if not launcher.exclusive and step.first_node == 0 and layout.head_cores:
            options += f" --reserve-cores {layout.head_cores}"
        yield from _background(launcher.launch(step), f"hpcflow worker {options}", step.name)
        yield 'steps+=("$!")'


def _worker_steps(request: Request, layout: Layout, launcher: StepLauncher) -> Iterator[Step]:
    """Yield the steps of the workers: one, or two where cores belong to one step alone."""
    others = layout.nodes - 1
    if not launcher.exclusive:
        first = 0 if layout.first_slots else 1
        yield _worker_step(
            request, layout, launcher, name="workers", first_node=first, nodes=layout.nodes - first
        )
        return
    if layout.first_slots:
        yield _worker_step(
            request, layout, launcher, name="workers-first-node", first_node=0, nodes=1
        )
    if others:
        yield _worker_step(request, layout, launcher, name="workers", first_node=1, nodes=others)


def _worker_step(
    request: Request,
    layout: Layout,
    launcher: StepLauncher,
    *,
    name: str,
    first_node: int,
    nodes: int,
) -> Step:
    alone = launcher.exclusive and first_node == 0
    cores = layout.first_cores if alone else layout.node_cores
    slots = layout.first_slots if alone else layout.slots_per_node
    one_each = request.worker_per == "slot"
    if one_each and request.slots_per_device > 1 and launcher.exclusive:
        raise RequestError(
            "cannot start a worker for each of several slots on one GPU with jsrun: a GPU belongs"
            " to one resource set. Ask for --worker-per node."
        )
    if one_each and isinstance(launcher, Direct):
        raise RequestError(
            f"cannot start a worker for each slot on {request.machine.name}: without a step"
            " launcher one worker serves all. Ask for --worker-per node."
        )
    return Step(
        name=name,
        first_node=first_node,
        nodes=nodes,
        processes=slots if one_each else 1,
        cores=cores // slots if one_each else cores,
        gpus=min(1, layout.node_gpus) if one_each else layout.node_gpus,
        first_core=layout.head_cores if alone else 0,
    )


def _driver(request: Request, layout: Layout, launcher: StepLauncher) -> Iterator[str]:
    wait = (
        f'hpcflow wait --run "$HPCFLOW_RUN" --slots {layout.slots} --quorum {QUORUM}'
        f" --limit {READY_WITHIN}"
    )
    arguments = "".join(f" {shlex.quote(argument)}" for argument in request.arguments)
    driver = shlex.quote(str(request.driver))
    if request.driver.suffix == ".toml":
        command = f'hpcflow run {driver} --run "$HPCFLOW_RUN"{arguments}'
    else:
        command = f"python {driver}{arguments}"
    launch = Launch(words=())
    if not launcher.script_on_first_node:
        launch = launcher.launch(
            Step(
                name="driver",
                cores=max(1, layout.driver_cores),
                first_core=layout.scheduler_cores,
            )
        )
    yield "# The driver: it starts when nearly all slots are ready; its exit code is the job's."
    yield from launch.prepare
    yield f"{_before(launch)}{wait} || exit"
    yield "trap : INT TERM # from here on the driver stops in order, and then this script does"
    yield f"{_before(launch)}{command}"


def _common(request: Request) -> str:
    interface = request.machine.interface
    return '--run "$HPCFLOW_RUN"' + (f" --interface {interface}" if interface else "")


def _background(launch: Launch, command: str, name: str) -> Iterator[str]:
    yield from launch.prepare
    yield f'{_before(launch)}{command}{_CONTINUED}>> "$HPCFLOW_RUN/logs/step-{name}.log" 2>&1 &'


def _before(launch: Launch) -> str:
    """Return the launcher's part of a command line, which continues on the next line."""
    words = [shlex.join(launch.words)] if launch.words else []
    if launch.option:
        words.append(launch.option)
    return " ".join(words) + _CONTINUED if words else ""


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
