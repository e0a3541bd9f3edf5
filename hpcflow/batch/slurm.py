"""Slurm: sbatch, squeue, sacct, scancel."""

from __future__ import annotations

import re
from pathlib import Path

from hpcflow.batch.command import Patience, Words, run_command, unexpected
from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError

# Texts of slurm_errno and of sbatch (src/common/slurm_errno.c, src/sbatch/sbatch.c of Slurm).
_WORDS = Words(
    transient=(
        "Unable to contact slurm controller",
        "Connection refused",
        "Slurm temporarily unable to accept job",
        "Slurm backup controller in standby mode",
        "Resource temporarily unavailable",
    ),
    in_doubt=(
        "Socket timed out on send/recv operation",
        "Zero Bytes were transmitted or received",
        "Transport endpoint is not connected",
    ),
)
_UNKNOWN = "Invalid job id"
# squeue(1), "JOB STATE CODES".
_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"}
_RUNNING = {
    *("RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"),
    *("SPECIAL_EXIT",),
}


class Slurm:
    """A Slurm cluster, as its commands on PATH reach it."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience

    def submit(self, script: Path, *, after: str | None = None) -> str:
        """Submit a script, to begin once batch job `after` has ended; return the new one's id."""
        what = f"submit {str(script)!r}"
        follows = () if after is None else (f"--dependency=afterany:{after}",)
        command = ("sbatch", "--parsable", *follows, str(script))
        answer = run_command(
            command, what=what, words=_WORDS, repeatable=False, patience=self._patience
        )
        found = re.fullmatch(r"(\d+)(;[\w.-]+)?", answer.strip())
        if found is None:
            raise unexpected(command, answer, what=what, wanted="the number of a batch job")
        return found[1]

    def state(self, job: str) -> JobState:
        """Return how a batch job stands."""
        command = ("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")
        try:
            answer = self._ask(command, job)
        except BatchSystemError as error:
            if _UNKNOWN not in error.stderr:
                raise
            answer = ""
        # A heterogeneous job has a line for each part; here the first stands for all.
        state = answer.split()[0] if answer.split() else self._accounted(job)
        if state in _WAITING:
            return JobState.WAITING
        if state in _RUNNING:
            return JobState.RUNNING
        if state == "COMPLETED":
            return JobState.SUCCEEDED
        if state == "CANCELLED":
            return JobState.CANCELLED
        return JobState.FAILED if state else JobState.GONE

    def cancel(self, job: str) -> None:
        """End a batch job. One that is over is left as it is."""
        try:
            run_command(
                ("scancel", job),
                what=f"cancel batch job {job}",
                words=_WORDS,
                patience=self._patience,
            )
        except BatchSystemError as error:
            if _UNKNOWN not in error.stderr and "already completing" not in error.stderr:
                raise

    def _accounted(self, job: str) -> str:
        """Return what the accounting knows of a batch job; nothing where there is none."""
        command = ("sacct", "--noheader", "--parsable2", "-X", "--format=State", f"--jobs={job}")
        try:
            words = self._ask(command, job).split()
        except BatchSystemError:
            return ""
        return words[0] if words else ""

    def _ask(self, command: tuple[str, ...], job: str) -> str:
        return run_command(
            command, what=f"ask after batch job {job}", words=_WORDS, patience=self._patience
        )
