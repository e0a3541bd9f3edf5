"""`hpcflow verify`: prove that no task was lost or recorded twice."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import holder
from hpcflow.journal.verify import Problem, Verdict
from hpcflow.journal.verify import verify as verify_run


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def verify(directory: Path) -> int:
    """Prove from its journal that the run in DIR is whole.

    Every task that was offered must have exactly one recorded outcome, and every stored value
    must be what was stored. What fails is listed, a line each: stage, key, and what is wrong.
    Exits with 0 if nothing does, else with 1.

    \b
    Example:
      hpcflow verify runs/primes
    """  # noqa: D301  click's \b keeps the lines as they are
    run = RunDirectory.existing(directory)
    verdict = verify_run(run)
    click.echo(f"{directory}: {_sentence(verdict)}")
    for problem in verdict.problems:
        click.echo(_line(problem))
    if verdict.problems and (writer := holder(run)) is not None:
        click.echo(
            f"Process {writer.pid} on host {writer.host} is still writing this run: what is not"
            " recorded yet may be on its way.",
            err=True,
        )
    return 1 if verdict.problems else 0


def _sentence(verdict: Verdict) -> str:
    counts = [f"{verdict.succeeded:,} succeeded", f"{verdict.failed:,} failed"]
    counts.append(f"{verdict.lost:,} lost")
    if verdict.cancelled:
        counts.append(f"{verdict.cancelled:,} cancelled")
    head = "whole" if not verdict.problems else f"NOT whole, {_count(verdict.problems)}"
    sessions = f"{verdict.sessions:,} session{'' if verdict.sessions == 1 else 's'}"
    return f"{head}: {verdict.offered:,} tasks offered in {sessions}, {', '.join(counts)}"


def _count(problems: list[Problem]) -> str:
    return f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}"


def _line(problem: Problem) -> str:
    key = "(the stage)" if problem.key is None else problem.key
    return f"{problem.stage}\t{key}\t{problem.what}"
