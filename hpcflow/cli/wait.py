"""`hpcflow wait`: hold the driver of a batch script until its workers are there."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.ends import ENDS, StepsEndedError, StepWatch, parse_steps
from hpcflow.batch.walltime import parse_walltime
from hpcflow.cli.steps import run_option
from hpcflow.errors import FarmError
from hpcflow.journal.directory import RunDirectory

_END_OF_LOG = 2000


@click.command()
@run_option
@click.option("--slots", metavar="N", type=int, required=True, help="Slots asked for.")
@click.option(
    "--shards",
    metavar="K",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Schedulers that the workers join.",
)
@click.option(
    "--steps",
    metavar="NAME:N,...",
    help="Steps of workers and their slots, to notice one that ends: the script notes it in"
    f" DIR/logs/{ENDS}.",
)
@click.option(
    "--quorum",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.98,
    show_default=True,
    help="Share of them to wait for; the others join while the driver runs.",
)
@click.option(
    "--limit", metavar="TIME", default="10m", show_default=True, help="Longest wait, such as 10m."
)
def wait(
    run: Path, *, slots: int, shards: int, steps: str | None, quorum: float, limit: str
) -> None:
    """Wait until the workers of a batch job have joined its schedulers.

    Fails, with the end of their own log, if none has by the limit, and at once if a scheduler or
    workers with more than half of the slots have ended.

    \b
    Example:
      hpcflow wait --run runs/first --slots 384 --limit 5m
    """  # noqa: D301  click's \b keeps the lines as they are
    from hpcflow.farm.allocated import AllocatedProcesses, wait_for_workers  # imports Dask

    directory = RunDirectory(run.absolute())
    allocation = read_allocation()
    watch = StepWatch(
        logs=directory.logs,
        workers={} if steps is None else parse_steps(steps),
        slots=slots,
        tell=_tell,
    )
    processes = AllocatedProcesses(
        directory,
        job=allocation.job,
        shards=shards,
        workers=allocation.workers,
        heed=watch.slots_to_come,
    )
    try:
        with contextlib.ExitStack() as stack:
            clients = processes.connect()
            for client in clients:
                stack.callback(client.close)
            wait_for_workers(
                clients,
                slots=watch.slots_to_come,
                quorum=quorum,
                limit_s=parse_walltime(limit),
                tell=_tell,
            )
    except StepsEndedError:
        raise
    except FarmError as error:
        raise FarmError(f"{error}. {_last_words(directory)}") from None


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _last_words(directory: RunDirectory) -> str:
    """Return the end of the first log of a worker step that says anything."""
    for log in sorted(directory.logs.glob("step-workers*.log")):
        text = log.read_text(errors="replace").strip()
        if text:
            return f"{str(log)!r} ends:\n{text[-_END_OF_LOG:]}"
    return f"The logs in {str(directory.logs)!r} say nothing of workers."
