"""Render a batch script: a pure function of the request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from hpcflow.batch.direct import Direct
from hpcflow.batch.directives import directives_of
from hpcflow.batch.ends import ENDS
from hpcflow.batch.jsrun import Jsrun, JsrunExplicit
from hpcflow.batch.layout import Layout, Pools, layout_of
from hpcflow.batch.machine import Machine
from hpcflow.batch.placement import WorkerStep, driver_step, scheduler_steps, worker_steps
from hpcflow.batch.request import Request
from hpcflow.batch.srun import Srun
from hpcflow.batch.step import Launch, Step, StepLauncher
from hpcflow.batch.walltime import show_walltime

SCRIPT = "batch.sh"
"""Name of the script in the run directory."""
QUORUM = 0.98
"""Share of the slots that the driver waits for; the others join while it runs."""
READY_WITHIN = "10m"
"""Longest wait for them."""

_JOB = {"slurm": '"$SLURM_JOB_ID"', "lsf": '"$LSB_JOBID"', "local": '"${1-}"'}
"""Id of the batch job, as the script knows it."""
_NOTE_ENDS = (
    "note_ends() { # of steps, and their exit codes: `hpcflow wait` heeds them",
    "    local name",
    '    for name in "${!steps[@]}"; do',
    '        if ! kill -0 "${steps[$name]}" 2> /dev/null; then',
    '            wait "${steps[$name]}"',
    f'            echo "$name $?" >> "$HPCFLOW_RUN/logs/{ENDS}"',
    '            unset "steps[$name]"',
    "        fi",
    "    done",
    "}",
)
_CONTINUED = " \\\n    "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What all parts of a script go by."""

    request: Request
    layout: Layout
    launcher: StepLauncher
    schedulers: Sequence[Step]
    workers: Sequence[WorkerStep]


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
    program = {"local": "bash", "slurm": "sbatch", "lsf": "bsub"}[request.machine.script_system]
    return f"{program} {script}"


def render(request: Request) -> str:
    """Return the batch script of a request that has been checked.

    It starts schedulers and workers as steps in the background, waits for the workers, and runs
    the driver, whose exit code is the batch job's.

    Raises
    ------
    RequestError
        If the request cannot be laid out on the machine's nodes.
    """
    layout, launcher = layout_of(request), launcher_of(request.machine)
    plan = _Plan(
        request=request,
        layout=layout,
        launcher=launcher,
        schedulers=tuple(scheduler_steps(layout)),
        workers=tuple(worker_steps(request, layout, launcher)),
    )
    paragraphs = [
        ["#!/bin/bash", *directives_of(request)],
        list(_explanation(plan)),
        list(_surroundings(plan)),
        list(_logs(plan)),
        list(_schedulers(plan)),
        list(_workers(plan)),
        list(_driver(plan)),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"


def _explanation(plan: _Plan) -> Iterator[str]:
    request, layout = plan.request, plan.layout
    time = show_walltime(request.walltime_s)
    yield f"# {_count(request.nodes, 'node')} of {request.machine.name} for {time}:"
    yield f"# {_count(layout.slots.total, 'slot')}, {_each(layout.slots_per_node)} on each node"
    if layout.first_slots != layout.slots_per_node:
        yield f"# but the first, which has {layout.first_slots.total or 'none'}"
    if layout.head_cores:
        schedulers = "scheduler" if layout.shards == 1 else "schedulers"
        yield f"# ({layout.head_cores} cores of the first are for {schedulers} and driver)"
    if layout.shards > 1:
        yield f"# in {layout.shards} shards, each with a scheduler of its own: {_shares(layout)}"
    yield "# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with"
    yield f"#   {submission_of(request)}"


def _each(slots: Pools) -> str:
    if slots.gpu and slots.cpu:
        return f"{slots.gpu} with a GPU and {slots.cpu} without"
    return str(slots.total)


def _shares(layout: Layout) -> str:
    counts = [shard.slots for shard in layout.shares()]
    if len(set(counts)) == 1:
        return f"{counts[0]:,} slots each"
    *others, last = (f"{count:,}" for count in counts)
    return f"{', '.join(others)} and {last} slots"


def _surroundings(plan: _Plan) -> Iterator[str]:
    request, machine = plan.request, plan.request.machine
    if machine.setup:
        yield f"# What {machine.name} needs."
        yield from machine.setup
    yield f'export PATH={shlex.quote(str(request.programs))}:"$PATH"'
    yield f"export HPCFLOW_RUN={shlex.quote(str(request.run))}"
    yield f"export HPCFLOW_SLOTS={plan.layout.slots}"
    if plan.layout.shards > 1:
        yield f"export HPCFLOW_SHARDS={plan.layout.shards}"
    yield f"export HPCFLOW_JOB={_JOB[machine.script_system]}"
    yield f'export HPCFLOW_ENDS_AT="$(($(date +%s) + {request.walltime_s}))"'
    if machine.scratch is not None:
        yield f'export HPCFLOW_SCRATCH="{machine.scratch}"'
    yield "set -uo pipefail"
    yield f"cd -- {shlex.quote(str(request.directory))} || exit"
    if request.follow_ups:
        yield f"# Up to {request.follow_ups} more batch jobs continue the run, each after the one"
        yield "# before. They are not needed once a driver has ended by itself."
        yield 'hpcflow follow-up --run "$HPCFLOW_RUN"'
        yield "[[ $? -ne 1 ]] || exit 0"


def _logs(plan: _Plan) -> Iterator[str]:
    names = ",".join(
        step.name for step in (*plan.schedulers, *(each.step for each in plan.workers))
    )
    yield "# Only you can read what the steps print."
    make = 'mkdir -p "$HPCFLOW_RUN/logs"'
    yield f'(umask 077 && {make} && touch "$HPCFLOW_RUN"/logs/step-{{{names}}}.log &&'
    yield f'    true > "$HPCFLOW_RUN/logs/{ENDS}")'


def _schedulers(plan: _Plan) -> Iterator[str]:
    shards = plan.layout.shards
    which = "The scheduler" if shards == 1 else "The schedulers, one for each shard"
    yield f"# {which}, on the first node."
    yield 'rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own'
    yield "declare -A steps=() # process ids of the steps that run, by name"
    for number, step in enumerate(plan.schedulers, start=1):
        options = f"{_common(plan.request, number, shards)}{_access(plan.request)}"
        command = f"hpcflow scheduler {options}"
        yield from _background(plan.launcher.launch(step), command, step.name)
    yield from _ending(plan)
    yield from _NOTE_ENDS
    if plan.launcher.places_in_order:
        yield from _placed(plan)


def _ending(plan: _Plan) -> Iterator[str]:
    """Yield what ends the steps, and the follow-ups where they are not needed any more."""
    if plan.request.follow_ups:
        yield "stopped='' # by a signal, as when the wall time is over: then a follow-up goes on"
        yield "trap 'stopped=1; exit 143' INT TERM"
    yield "end_steps() {"
    if plan.request.follow_ups:
        yield "    local code=$?"
        yield '    [[ -n "$stopped" ]] ||'
        yield '        hpcflow follow-up --run "$HPCFLOW_RUN" --ended "$code" --lasted "$SECONDS"'
    yield '    [[ -z "${waiting-}" ]] || kill "$waiting" 2> /dev/null'
    yield f"    {plan.launcher.end_steps}"
    yield "    for _ in {1..100}; do # 20 s to end in order"
    yield '        [[ -n "$(jobs -pr)" ]] || break'
    yield "        sleep 0.2"
    yield "    done"
    yield '    kill -KILL "${steps[@]}" 2> /dev/null'
    yield "    wait"
    yield "}"
    yield "trap end_steps EXIT"


def _placed(plan: _Plan) -> Iterator[str]:
    """Yield a wait until each scheduler has its place on the first node."""
    yield "# jsrun places steps as they come: the first node must be the schedulers' before others."
    for step in plan.schedulers:
        yield f'until [[ -e "$HPCFLOW_RUN/{step.name}.json" ]]; do'
        yield f'    if ! kill -0 "${{steps[{step.name}]}}" 2> /dev/null; then'
        yield f'        tail -n 20 "$HPCFLOW_RUN/logs/step-{step.name}.log" >&2'
        yield "        exit 1"
        yield "    fi"
        yield "    sleep 1"
        yield "done"


def _workers(plan: _Plan) -> Iterator[str]:
    request, layout = plan.request, plan.layout
    which = "for each node" if request.worker_per == "node" else "for each slot"
    yield f"# One worker {which}."
    for each in plan.workers:
        step = each.step
        options = f"{_common(request, each.shard, layout.shards)} --worker-per {request.worker_per}"
        if request.slots_per_device > 1:
            options += f" --slots-per-device {request.slots_per_device}"
        if request.cpu_slots:
            options += f" --cpu-slots {request.cpu_slots}"
        if not plan.launcher.exclusive and step.first_node == 0 and layout.head_cores:
            options += f" --reserve-cores {layout.head_cores}"
        launch = plan.launcher.launch(step)
        yield from _background(launch, f"hpcflow worker {options}", step.name)


def _driver(plan: _Plan) -> Iterator[str]:
    request, layout, launcher = plan.request, plan.layout, plan.launcher
    shards = f" --shards {layout.shards}" if layout.shards > 1 else ""
    steps = ",".join(f"{each.step.name}:{each.slots}" for each in plan.workers)
    wait = (
        f'hpcflow wait --run "$HPCFLOW_RUN" --slots {layout.slots.total}{shards} --steps {steps}'
        f" --quorum {QUORUM} --limit {READY_WITHIN}"
    )
    arguments = "".join(f" {shlex.quote(argument)}" for argument in request.arguments)
    driver = shlex.quote(str(request.driver))
    if request.driver.suffix == ".toml":
        command = f'hpcflow run {driver} --run "$HPCFLOW_RUN"{arguments}'
    else:
        command = f"python {driver}{arguments}"
    launch = Launch(words=())
    if not launcher.script_on_first_node:
        launch = launcher.launch(driver_step(layout))
    yield "# The driver: it starts when nearly all slots are ready; its exit code is the job's."
    yield from launch.prepare
    yield f"{_before(launch)}{wait} &"
    yield 'waiting="$!"'
    yield 'while kill -0 "$waiting" 2> /dev/null; do'
    yield "    note_ends"
    yield "    sleep 0.2"
    yield "done"
    yield 'wait "$waiting" || exit 1'
    yield "unset waiting"
    note = "stopped=1" if request.follow_ups else ":"
    why = "from here on the driver stops in order, and then this script does"
    yield f"trap {note} INT TERM # {why}"
    yield f"{_before(launch)}{command}"


def _access(request: Request) -> str:
    """Return how the farm can be reached where that is not the default; workers follow suit."""
    dashboard = " --dashboard" if request.dashboard else ""
    return dashboard + (" --insecure" if request.insecure else "")


def _common(request: Request, shard: int, shards: int) -> str:
    """Return the options that scheduler and workers of a shard share."""
    interface = request.machine.interface
    options = '--run "$HPCFLOW_RUN"' + (f" --interface {interface}" if interface else "")
    return options + (f" --shard {shard}" if shards > 1 else "")


def _background(launch: Launch, command: str, name: str) -> Iterator[str]:
    yield from launch.prepare
    yield f'{_before(launch)}{command}{_CONTINUED}>> "$HPCFLOW_RUN/logs/step-{name}.log" 2>&1 &'
    yield f'steps[{name}]="$!"'


def _before(launch: Launch) -> str:
    """Return the launcher's part of a command line, which continues on the next line."""
    words = [shlex.join(launch.words)] if launch.words else []
    if launch.option:
        words.append(launch.option)
    return " ".join(words) + _CONTINUED if words else ""


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
