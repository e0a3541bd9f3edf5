"""No batch system: the script runs in the background on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError

_END_S = 30.0
"""How long a batch job may take to end in order [s]; then it is killed."""
# A session of its own, so that the job outlives the terminal and is ended as a whole.
_START = """
setsid bash -c "$0" "$@" < /dev/null 2> /dev/null &
"""
# The wrapper's process id names log and exit code, so that both are found by the job's id. A job
# that follows another waits until that one's first process has ended, and ends what that has left.
_WRAPPER = """
began() {
    local stat fields
    read -r stat 2> /dev/null < "/proc/$1/stat" || return
    read -ra fields <<< "${stat##*) }"
    [[ "${fields[0]}" == Z ]] || echo "${fields[19]}"
}
job="$$.$(began "$$")"
mask=$(umask)
umask 077
[[ -n "$2" ]] || true >> "$1/batch-$$.log"
echo "$job"
exec > /dev/null
if [[ -n "$2" ]]; then
    while [[ "$(began "${2%.*}")" == "${2#*.}" ]]; do sleep 0.2; done
    kill -KILL -- "-${2%.*}" 2> /dev/null
fi
exec >> "$1/batch-$$.log" 2>&1
umask "$mask"
bash "$0" "$job"
code=$?
echo "$code" > "$1/batch-$$.code"
exit "$code"
"""


class Local:
    """The machine at hand. A batch job's id is its first process, and when that began."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def submit(self, script: Path, *, after: str | None = None) -> str:
        """Start a script in the background, in a session of its own, once job `after` has ended."""
        command = ("bash", "-c", _START, _WRAPPER, str(script), str(self._logs), after or "")
        try:
            answer = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise BatchSystemError(
                f"cannot start {str(script)!r}: {error}. Check the limits on processes"
                " (ulimit -a).",
                command=command,
                exit_code=None,
                stderr="",
            ) from None
        job = answer.stdout.strip()
        _pid(job)  # an answer that is no id is an error
        return job

    def state(self, job: str) -> JobState:
        """Return how a batch job stands."""
        if _lives(job):
            begun = (self._logs / f"batch-{_pid(job)}.log").exists()
            return JobState.RUNNING if begun else JobState.WAITING
        try:
            code = (self._logs / f"batch-{_pid(job)}.code").read_text().strip()
        except OSError:
            return JobState.CANCELLED
        return JobState.SUCCEEDED if code == "0" else JobState.FAILED

    def cancel(self, job: str) -> None:
        """End a batch job: in order first, by force if that takes too long."""
        if not _lives(job):
            return
        leader = psutil.Process(_pid(job))
        members = [leader, *leader.children(recursive=True)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(leader.pid, number)
            _, members = psutil.wait_procs(members, timeout=_END_S)
            if not members:
                return


def _pid(job: str) -> int:
    pid, _, began = job.partition(".")
    if not (pid.isdecimal() and began.isdecimal()):
        raise BatchSystemError(
            f"cannot find local batch job {job!r}: that is no id of one. Look into the run's"
            " job.toml and logs.",
            command=(),
            exit_code=None,
            stderr="",
        )
    return int(pid)


def _lives(job: str) -> bool:
    """Say whether the job's first process lives; another one may have its number later."""
    pid = _pid(job)
    try:
        return job == f"{pid}.{_began(pid)}"
    except OSError:
        return False


def _began(pid: int) -> int:
    """Return when a process began [clock ticks since boot], as proc(5) has it.

    Raises
    ------
    ProcessLookupError
        If it has ended, waited for or not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    if fields[0] == "Z":
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])
