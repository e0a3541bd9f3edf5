"""IBM Spectrum LSF: bsub, bjobs, bkill."""

from __future__ import annotations

import re
from pathlib import Path

from hpcflow.batch.command import Patience, Words, run_command, unexpected
from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError

# Texts of LSF's command reference and of the error messages in its administrator's guide.
_WORDS = Words(
    transient=(
        "LSF is down",
        "LSF is processing your request",
        "Batch system concurrent query limit exceeded",
        "Cannot connect to LSF",
        "Resource temporarily unavailable",
        "batch system is not responding",
    ),
    in_doubt=("Communication time out", "Connection reset by peer"),
)
_SUBMITTED = re.compile(
    r"^Job <(\d+)> is submitted to (default )?queue <[^>]+>\.$", flags=re.MULTILINE
)
_UNKNOWN = ("is not found", "No matching job found", "already finished")
# Summit User Guide, "Job States", and bjobs(1).
_STATES = {
    "PEND": JobState.WAITING,
    "PSUSP": JobState.WAITING,
    "PROV": JobState.WAITING,
    "WAIT": JobState.WAITING,
    "RUN": JobState.RUNNING,
    "USUSP": JobState.RUNNING,
    "SSUSP": JobState.RUNNING,
    "UNKWN": JobState.RUNNING,
    "DONE": JobState.SUCCEEDED,
    "EXIT": JobState.FAILED,
    "ZOMBI": JobState.FAILED,
}


class Lsf:
    """An LSF cluster, as its commands on PATH reach it."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience

    def submit(self, script: Path, *, after: str | None = None) -> str:
        """Submit a script, to begin once batch job `after` has ended; return the new one's id.

        The script is an argument, as Summit wants it: there `bsub < script` does not work.
        """
        what = f"submit {str(script)!r}"
        follows = () if after is None else ("-w", f"ended({after})")
        command = ("bsub", *follows, str(script))
        answer = run_command(
            command, what=what, words=_WORDS, repeatable=False, patience=self._patience
        )
        found = _SUBMITTED.search(answer)
        if found is None:
            raise unexpected(command, answer, what=what, wanted="`Job <number> is submitted ...`")
        return found[1]

    def state(self, job: str) -> JobState:
        """Return how a batch job stands."""
        what = f"ask after batch job {job}"
        command = ("bjobs", "-noheader", "-o", "stat", job)
        try:
            answer = run_command(command, what=what, words=_WORDS, patience=self._patience)
        except BatchSystemError as error:
            if any(text in error.stderr for text in _UNKNOWN):
                return JobState.GONE
            raise
        state = _STATES.get(answer.strip())
        if state is None:
            raise unexpected(command, answer, what=what, wanted="a state such as PEND")
        return state

    def cancel(self, job: str) -> None:
        """End a batch job. One that is over is left as it is."""
        try:
            run_command(
                ("bkill", job),
                what=f"cancel batch job {job}",
                words=_WORDS,
                patience=self._patience,
            )
        except BatchSystemError as error:
            if not any(text in error.stderr for text in _UNKNOWN):
                raise
