"""The fake jsrun: resource sets as real processes.

Options as in the Summit User Guide, "Job Launcher (jsrun)". Texts of errors as reported in public:
outside a batch job radical-cybertools/radical.pilot issue 2419, more than the hosts hold issue 2673
there, a resource file that cannot be read issue 1783 there. That on an unknown option is popt's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpcflow.testing.lsf_state import Job, Share, State, fail

_LONG = {
    "-n": "--nrs",
    "-r": "--rs_per_host",
    "-a": "--tasks_per_rs",
    "-c": "--cpu_per_rs",
    "-g": "--gpu_per_rs",
    "-b": "--bind",
    "-d": "--launch_distribution",
    "-l": "--latency_priority",
    "-M": "--smpiargs",
    "-o": "--stdio_stdout",
    "-k": "--stdio_stderr",
}
_KNOWN = {*_LONG.values(), "--erf_input"}
_SET = re.compile(
    r"rank: (?P<rank>\d+): \{ host: (?P<host>\d+); cpu: \{(?P<cpu>[\d-]+)\}"
    r"(?:; gpu: \{(?P<gpu>[\d-]+)\})? \}"
)
_DEVICES = "CUDA_VISIBLE_DEVICES"
_LOOK_S = 0.02


def jsrun() -> None:
    """Start a step: wait until its resource sets are free, and run a process in each."""
    options, command = _options(sys.argv[1:])
    if "LSB_JOBID" not in os.environ:
        fail(
            "Error: error in ptssup_mkcltsock_afunix()\n"
            "main: Error initializing RM connection. Exiting.",
            255,
        )
    if not command:
        fail("Error: no command was given", 1)
    state = State()
    job = _job(state)
    tasks = _number(options, "--tasks_per_rs", 1)
    wanted = _explicit(options) if "--erf_input" in options else None
    if _place(options, wanted, job, state, held=[]) is None:
        fail("Error: Requested job constraints cannot be met", 1)
    sets = _take(options, wanted, state)
    try:
        code = _run(sets, command, tasks=tasks)
    finally:
        with state.locked():
            job = _job(state)
            del job.steps[os.getpid()]
            state.keep(job)
    raise SystemExit(code)


def _job(state: State) -> Job:
    job = state.job(os.environ["LSB_JOBID"])
    assert job is not None, "bsub has written it"
    return job


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    words = list(words)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            name, value = word[:2], word[2:]
            name = _LONG.get(name, word)
        if name not in _KNOWN:
            fail(f"jsrun: {word}: unknown option", 1)
        if not (equals or value):
            if not words:
                fail(f"jsrun: {word}: missing argument", 1)
            value = words.pop(0)
        options[name] = value
    return options, words


def _number(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal():
        fail(f"jsrun: {name}: invalid numeric value", 1)
    return int(text)


def _explicit(options: dict[str, str]) -> list[Share]:
    """Return the resource sets that a file names, by rank."""
    path = Path(options["--erf_input"])
    try:
        head, *lines = path.read_text().splitlines()
    except (OSError, ValueError):
        fail(
            f"The resource file >>{path}<< could not be opened.\n"
            f"Error when reading resource file {path}",
            1,
        )
    found = [_SET.fullmatch(line) for line in lines]
    if head != "cpu_index_using: logical" or not all(found):
        fail(f"Error when reading resource file {path}", 1)
    sets = [
        Share(
            host=int(match["host"]) - 1,
            cores=_range(match["cpu"]),
            gpus=_range(match["gpu"]) if match["gpu"] else [],
        )
        for match in found
        if match is not None
    ]
    ranks = [int(match["rank"]) for match in found if match is not None]
    if ranks != list(range(len(sets))):
        fail(f"Error when reading resource file {path}", 1)
    return sets


def _range(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _take(options: dict[str, str], wanted: list[Share] | None, state: State) -> list[Share]:
    """Wait until the resource sets are free, and hold them."""
    while True:
        with state.locked():
            job = _job(state)
            held = [share for step in job.steps.values() for share in step]
            sets = _place(options, wanted, job, state, held=held)
            if sets is not None:
                job.steps[os.getpid()] = sets
                state.keep(job)
                return sets
        time.sleep(_LOOK_S)


def _place(  # noqa: PLR0917
    options: dict[str, str],
    wanted: list[Share] | None,
    job: Job,
    state: State,
    *,
    held: Sequence[Share],
) -> list[Share] | None:
    """Return where the resource sets go beside those that are held; None if they do not fit."""
    free = _free(job, state, held)
    if wanted is not None:
        fits = all(
            share.host < job.nodes
            and free[share.host][0].issuperset(share.cores)
            and free[share.host][1].issuperset(share.gpus)
            for share in wanted
        )
        return wanted if fits else None
    count = _number(options, "--nrs", 1)
    per_host = _number(options, "--rs_per_host", 0)
    cores = _number(options, "--cpu_per_rs", 1)
    gpus = _number(options, "--gpu_per_rs", 0)
    sets: list[Share] = []
    for host, (free_cores, free_gpus) in enumerate(free):
        room = min(
            len(free_cores) // cores if cores else count,
            len(free_gpus) // gpus if gpus else count,
        )
        if per_host and room < per_host:
            continue
        here = range(min(per_host or room, count - len(sets)))
        sets += [
            Share(
                host=host,
                cores=sorted(free_cores)[number * cores : (number + 1) * cores],
                gpus=sorted(free_gpus)[number * gpus : (number + 1) * gpus],
            )
            for number in here
        ]
    return sets if len(sets) == count else None


def _free(job: Job, state: State, held: Sequence[Share]) -> list[tuple[set[int], set[int]]]:
    free = [
        (set(range(state.cluster.cores)), set(range(state.cluster.gpus))) for _ in range(job.nodes)
    ]
    for share in held:
        free[share.host][0].difference_update(share.cores)
        free[share.host][1].difference_update(share.gpus)
    return free


def _run(sets: Sequence[Share], command: Sequence[str], *, tasks: int) -> int:
    """Run the command in each resource set; return the first exit code that is not 0."""
    size = len(sets) * tasks
    processes: list[subprocess.Popen[bytes]] = []

    def stop(_number: int, _frame: object) -> None:
        for process in processes:
            process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    on_host: dict[int, int] = {}
    for index, share in enumerate(sets):
        for task in range(tasks):
            local = on_host.get(share.host, 0)
            on_host[share.host] = local + 1
            place = {"rank": index * tasks + task, "size": size, "local": local}
            processes.append(subprocess.Popen(command, env=_environment(share, place)))
    codes = [process.wait() for process in processes]
    return next((code if code > 0 else 128 - code for code in codes if code), 0)


def _environment(share: Share, place: dict[str, int]) -> dict[str, str]:
    rank, size, local = place["rank"], place["size"], place["local"]
    inherited = {name: text for name, text in os.environ.items() if name != _DEVICES}
    return {
        **inherited,
        **({_DEVICES: ",".join(map(str, share.gpus))} if share.gpus else {}),
        "JSM_NAMESPACE_RANK": str(rank),
        "JSM_NAMESPACE_SIZE": str(size),
        "JSM_NAMESPACE_LOCAL_RANK": str(local),
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(local),
        "PMIX_RANK": str(rank),
    }
