"""Which of the user's batch jobs are still there: one question to the batch system for all."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Sequence
from typing import Literal

from hpcflow.batch.command import Patience, Words, run_command
from hpcflow.errors import BatchSystemError

# squeue(1); bjobs(1); qselect(1) of POSIX, as PBS Professional, OpenPBS and Torque have it; and
# qstat(1) of Grid Engine. Each lists what waits or runs, and ids at the beginning of a line.
_COMMANDS: dict[str, tuple[str, ...]] = {
    "slurm": ("squeue", "--noheader", "--format=%A", "--user={user}"),
    "lsf": ("bjobs", "-noheader", "-o", "jobid"),
    "pbs": ("qselect", "-u", "{user}"),
    "sge": ("qstat", "-u", "{user}"),
}
_NONE = "No unfinished job found"
_ID = re.compile(r"^\s*(\d+)", flags=re.MULTILINE)


def live_jobs(
    system: Literal["slurm", "lsf", "pbs", "sge"], *, only: Sequence[str] = ()
) -> set[str]:
    """Return the ids of the user's batch jobs that wait or run.

    Parameters
    ----------
    system
        The batch system.
    only
        Further options of its command, such as the queue to look at.

    Raises
    ------
    BatchSystemError
        If it does not answer.
    """
    user = pwd.getpwuid(os.getuid()).pw_name
    command = [*(word.format(user=user) for word in _COMMANDS[system]), *only]
    try:
        answer = run_command(
            command,
            what="list batch jobs",
            words=Words(transient=()),
            patience=Patience(attempts=1),
        )
    except BatchSystemError as error:
        if _NONE not in error.stderr:
            raise
        return set()
    return set(_ID.findall(answer))
