"""Run a batch system's command, patiently, and keep its words when it fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hpcflow.errors import BatchSystemError

_LIMIT_S = 120.0
"""Longest time that a command may take [s]; a busy controller can need a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a command is tried again after a transient failure."""

    attempts: int = 5
    first_wait_s: float = 2.0
    """Before the second attempt [s]; each further wait is twice as long."""
    sleep: Callable[[float], None] = field(default=time.sleep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a batch system prints when a command may succeed later."""

    transient: tuple[str, ...]
    """The command did nothing: try it again."""
    in_doubt: tuple[str, ...] = ()
    """It may have done its work: only what may be done twice is tried again."""


def run_command(
    command: Sequence[str],
    *,
    what: str,
    words: Words,
    repeatable: bool = True,
    patience: Patience | None = None,
) -> str:
    """Run a command and return what it prints, trying again while it fails for a while.

    Parameters
    ----------
    command
        Program and arguments.
    what
        What it is for, as in `cannot <what>`.
    words
        What it prints when it may succeed later.
    repeatable
        Whether it does no harm to run it again when it may have done its work.
    patience
        How often, and after how long.

    Raises
    ------
    BatchSystemError
        With the batch system's own words.
    """
    patience = patience or Patience()
    wait_s = patience.first_wait_s
    for attempt in range(1, patience.attempts + 1):
        try:
            return _run_once(command, what=what, words=words, repeatable=repeatable)
        except BatchSystemError as error:
            if not error.transient or attempt == patience.attempts:
                raise
        patience.sleep(wait_s)
        wait_s *= 2
    raise AssertionError("the last attempt returns or raises")


def _run_once(command: Sequence[str], *, what: str, words: Words, repeatable: bool) -> str:
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LIMIT_S,
        )
    except FileNotFoundError:
        raise BatchSystemError(
            f"cannot {what}: there is no program {command[0]!r} on PATH. Do it on a login node of"
            " the machine.",
            command=command,
            exit_code=None,
            stderr="",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        raise BatchSystemError(
            f"cannot {what}: {command[0]} {'did not answer' if late else str(error)}. Try again"
            " later, after a look at the queue.",
            command=command,
            exit_code=None,
            stderr="",
            transient=late and repeatable,
        ) from None
    if answer.returncode == 0:
        return answer.stdout
    said = answer.stderr.strip() or answer.stdout.strip()
    raise _refusal(
        command, answer.returncode, said, what=what, words=words, repeatable=repeatable
    ) from None


def _refusal(
    command: Sequence[str],
    code: int,
    said: str,
    *,
    what: str,
    words: Words,
    repeatable: bool,
) -> BatchSystemError:
    transient = any(text in said for text in words.transient)
    doubtful = any(text in said for text in words.in_doubt)
    if doubtful and not repeatable:
        remedy = "It may have been taken all the same: look at the queue before you try again."
    elif transient or doubtful:
        remedy = "It is busy or out of reach: try again later."
    else:
        remedy = "Change what it objects to."
    return BatchSystemError(
        f"cannot {what}: {command[0]} ended with code {code} and said: {said or 'nothing'}"
        f"{'' if said.endswith('.') else '.'} {remedy}",
        command=command,
        exit_code=code,
        stderr=said,
        transient=transient or (doubtful and repeatable),
    )


def unexpected(command: Sequence[str], answer: str, *, what: str, wanted: str) -> BatchSystemError:
    """Return the error for an answer that cannot be understood."""
    return BatchSystemError(
        f"cannot {what}: {command[0]} answered {answer.strip()!r}, and {wanted} was expected. Look"
        " at the queue by hand.",
        command=command,
        exit_code=0,
        stderr=answer,
    )
