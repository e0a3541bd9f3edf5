"""A batch job and its follow-ups: submitted together, each waits for the one before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hpcflow.batch.record import JobRecord, log_of
from hpcflow.batch.system import BatchSystem, JobState
from hpcflow.errors import BatchSystemError

_RESUMABLE = frozenset({3, 130, 143})
"""Exit codes of a driver whose run goes on: hpcflow's for what broke, or one ended by a signal."""
LAST_S = 30.0
"""A driver that fails so shortly before the wall time is over was ended by that [s]."""


def submit_chain(system: BatchSystem, script: Path, *, follow_ups: int) -> list[str]:
    """Submit a script and its follow-ups, and return their ids; all of them or none.

    The follow-ups are in the queue from the beginning: nothing is submitted by a batch job, so
    whatever ends that, the next one begins, and there are never more than were asked for.

    Raises
    ------
    BatchSystemError
        If one is refused: those before it are cancelled.
    """
    jobs: list[str] = []
    try:
        for _ in range(1 + follow_ups):
            jobs.append(system.submit(script, after=jobs[-1] if jobs else None))
    except BatchSystemError:
        cancel_all(system, jobs)
        raise
    return jobs


def cancel_all(system: BatchSystem, jobs: list[str]) -> None:
    """End batch jobs, the last one first, so that none begins because the one before has ended.

    Raises
    ------
    BatchSystemError
        If one cannot be ended; the others are, all the same.
    """
    failed: BatchSystemError | None = None
    for job in reversed(jobs):
        try:
            system.cancel(job)
        except BatchSystemError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def standing(system: BatchSystem, record: JobRecord, run: Path) -> tuple[str, JobState]:
    """Return the batch job that counts now, and how it stands.

    It is the first that waits or runs; where all are over, the last that ran.
    """
    seen = []
    for job in record.chain:
        state = system.state(job)
        if state.live:
            return job, state
        seen.append((job, state))
    ran = [each for each in seen if log_of(run, each[0]).exists()]
    return (ran or seen)[-1]


def run_goes_on(code: int, *, left_s: float | None, cut_short: bool) -> bool:
    """Say whether a follow-up should continue a run, by how its driver ended.

    Parameters
    ----------
    code
        Exit code of the driver.
    left_s
        What is left of the wall time [s], where that is known.
    cut_short
        Whether the run's record says that it was not the driver that ended its last session.
    """
    if code == 0:
        return False
    return cut_short or code in _RESUMABLE or (left_s is not None and left_s < LAST_S)


def cancel_followers(system: BatchSystem, record: JobRecord, job: str) -> None:
    """End the batch jobs that follow one. Those that cannot be ended end by themselves at once."""
    following = list(record.chain[record.chain.index(job) + 1 :])
    with suppress(BatchSystemError):
        cancel_all(system, following)
