"""The fake bsub, bjobs and bkill.

Options as in IBM's command reference and in the Summit User Guide, "Common bsub Options". The frame
around what Summit's submission filter says is as reported in E3SM-Project/E3SM issue 2316; the
lines within it, but for that on `-n`, are worded here.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from hpcflow.testing.lsf_state import Job, State, fail

_WITH_VALUE = {
    *("-P", "-W", "-nnodes", "-q", "-J", "-o", "-oo", "-e", "-eo", "-w", "-alloc_flags", "-cwd"),
    *("-u", "-env", "-U"),
}
_ALONE = {"-N", "-B", "-H", "-K", "-XF"}
_OVER = {"DONE", "EXIT"}
_AFTER = re.compile(r"ended\((\d+)\)")
_WALLTIME = re.compile(r"(\d+:)?\d+")


def bsub() -> None:
    """Submit a script: check its options as strictly as Summit does, and run it at once."""
    state = State()
    if state.turned_away():
        fail("LSF is processing your request. Please wait ...", 255)
    given, command = _options(sys.argv[1:])
    if not command:
        _reject("No batch script was given.")
    script = Path(command[0])
    if not script.is_file():
        fail(f"{script}: No such file or directory. Job not submitted.", 255)
    options = {**_directives(script), **given}
    _check(options, state)
    queue = options.get("-q", state.cluster.queues[0])
    with state.locked():
        job = state.new_job(
            name=options.get("-J", script.name), queue=queue, nodes=int(options["-nnodes"])
        )
    _start(job, command, options)
    while (begun := state.job(str(job.id))) is None or not begun.pid:
        time.sleep(0.01)
    default = "" if "-q" in options else "default "
    sys.stdout.write(f"Job <{job.id}> is submitted to {default}queue <{queue}>.\n")


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return options and their values, and the command that follows them."""
    options: dict[str, str] = {}
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "-n":
            _reject(
                "30: The '-n <slots>' flag is no longer supported.  Please use"
                " '-nnodes <node_count>' to request nodes."
            )
        if option in _ALONE:
            options[option] = ""
        elif option in _WITH_VALUE:
            if not words:
                fail(f"{option}: option requires an argument. Job not submitted.", 255)
            options[option] = words.pop(0)
        else:
            fail(f"{option}: Illegal option. Job not submitted.", 255)
    return options, words


def _directives(script: Path) -> dict[str, str]:
    words = []
    for line in script.read_text().splitlines():
        if line.startswith("#BSUB "):
            words += shlex.split(line.removeprefix("#BSUB "), comments=True)
    options, rest = _options(words)
    if rest:
        fail(f"{rest[0]}: Illegal option. Job not submitted.", 255)
    return options


def _check(options: dict[str, str], state: State) -> None:
    missing = [option for option in ("-P", "-W", "-nnodes") if option not in options]
    if missing:
        _reject(*(f"The '{option}' flag is required." for option in missing))
    if not _WALLTIME.fullmatch(options["-W"]):
        fail("Bad argument for option -W. Job not submitted.", 255)
    if not options["-nnodes"].isdecimal() or not int(options["-nnodes"]):
        fail("Bad argument for option -nnodes. Job not submitted.", 255)
    if int(options["-nnodes"]) > state.cluster.hosts:
        _reject(f"At most {state.cluster.hosts} nodes can be requested.")
    if "-w" in options and not _AFTER.fullmatch(options["-w"]):
        fail("Dependency condition invalid or never satisfied. Job not submitted.", 255)
    if options.get("-q", state.cluster.queues[0]) not in state.cluster.queues:
        fail(f"{options['-q']}: No such queue. Job not submitted.", 255)


def _reject(*messages: str) -> NoReturn:
    lines = [
        "#" * 55,
        f"### {len(messages):6} ERROR(S) FOUND.  JOB NOT SUBMITTED.       ###",
        "",
        *messages,
        "Please address the given error(s) and resubmit.",
    ]
    fail("\n".join(lines), 255)


def _start(job: Job, command: list[str], options: dict[str, str]) -> None:
    """Run the job's script under a process that says how it ended."""
    environment = {
        **os.environ,
        "LSB_JOBID": str(job.id),
        "LSB_JOBNAME": job.name,
        "LSB_QUEUE": job.queue,
        "LSB_DJOB_NUMPROC": str(job.nodes * 42 + 1),
        "LS_SUBCWD": str(Path.cwd()),
    }
    after = _AFTER.fullmatch(options.get("-w", ""))
    words = (
        str(job.id),
        options.get("-o", "/dev/null").replace("%J", str(job.id)),
        after[1] if after else "",
        *command,
    )
    subprocess.Popen(
        [sys.executable, "-m", "hpcflow.testing.lsf_jobs", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )


def run_job(number: str, command: list[str], *, log: Path, after: str) -> None:
    """Run a script as a batch job once another one has ended; write down what becomes of it."""
    state = State()
    signal.signal(signal.SIGTERM, lambda *_: None)  # to outlive the script that bkill ends
    with state.locked():
        _update(state, number, pid=os.getpid())
    while after and (before := state.job(after)) is not None and before.state not in _OVER:
        time.sleep(0.02)
    with state.locked():
        job = state.job(number)
        if job is None or job.state in _OVER:
            return  # ended by bkill before it began
        with log.open("ab") as output:
            script = subprocess.Popen(["/bin/bash", *command], stdout=output, stderr=output)
        _update(state, number, state="RUN")
    code = script.wait()
    with state.locked():
        _update(state, number, state="DONE" if code == 0 else "EXIT")


def _update(jobs: State, number: str, **changes: Any) -> None:
    job = jobs.job(number)
    assert job is not None, "bsub has written it, and nobody removes it"
    jobs.keep(msgspec.structs.replace(job, **changes))


def bjobs() -> None:
    """Print the state of a batch job, or the ids of those that are not over.

    `bjobs -noheader -o stat ID` or `bjobs -noheader -o jobid [-q QUEUE]`.
    """
    words = sys.argv[1:]
    if words[:3] == ["-noheader", "-o", "jobid"]:
        return _list_unfinished(State(), words[3:])
    if (
        words[:3] != ["-noheader", "-o", "stat"]
        or len(words) != len(["-noheader", "-o", "stat"]) + 1
    ):
        fail(f"{words[0] if words else 'bjobs'}: Illegal option.", 255)
    job = State().job(words[-1])
    if job is None:
        fail(f"Job <{words[-1]}> is not found", 255)
    sys.stdout.write(f"{job.state}\n")
    return None


def _list_unfinished(state: State, words: list[str]) -> None:
    if words and (words[0] != "-q" or len(words) != len(("-q", "QUEUE"))):
        fail(f"{words[0]}: Illegal option.", 255)
    jobs = [job for job in state.jobs() if job.state not in _OVER]
    if words:
        jobs = [job for job in jobs if job.queue == words[1]]
    if not jobs:
        fail(f"No unfinished job found{f' in queue <{words[1]}>' if words else ''}", 255)
    for job in jobs:
        sys.stdout.write(f"{job.id}\n")


def bkill() -> None:
    """End a batch job: `bkill ID`."""
    words = sys.argv[1:]
    if len(words) != 1 or words[0].startswith("-"):
        fail(f"{words[0] if words else 'bkill'}: Illegal option.", 255)
    state = State()
    with state.locked():
        job = state.job(words[0])
        if job is None:
            fail(f"Job <{words[0]}>: No matching job found", 255)
        if job.state in _OVER:
            fail(f"Job <{words[0]}>: Job has already finished", 255)
        if job.state == "PEND":
            _update(state, words[0], state="EXIT")
        os.killpg(job.pid, signal.SIGTERM)
    sys.stdout.write(f"Job <{words[0]}> is being terminated\n")


if __name__ == "__main__":
    run_job(sys.argv[1], sys.argv[4:], log=Path(sys.argv[2]), after=sys.argv[3])
