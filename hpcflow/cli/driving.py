"""Drive an ensemble to its end in a run directory, for `run` and `resume`."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import click

from hpcflow.cli.closing import closing_rows, table
from hpcflow.cli.group import EXIT_INTERRUPTED
from hpcflow.cli.interrupt import stopping_in_order
from hpcflow.cli.options import keep_options
from hpcflow.cli.progress import Follower
from hpcflow.clock import SystemClock
from hpcflow.core.task import AnyOutcome, Lost, Succeeded
from hpcflow.dashboards import text
from hpcflow.dashboards.source import RunSource
from hpcflow.ensembles.configuration import RunConfiguration
from hpcflow.farm.run import read_run_toml
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify
from hpcflow.settings import dump_toml
from hpcflow.timing.ledger import ledger_of

_FAILURES_SHOWN = 10
_LONGEST_LINE = 240


def drive(
    configuration: RunConfiguration,
    directory: RunDirectory,
    *,
    slots: int | None = None,
    reuse_changed: bool = False,
) -> int:
    """Run what is left of an ensemble, show how it goes, and return the exit code.

    Parameters
    ----------
    configuration
        What to run.
    directory
        Where it is recorded; made if need be.
    slots
        Tasks at a time; by default what the configuration says.
    reuse_changed
        Keep what was recorded by other versions of the task functions.

    Raises
    ------
    RequestError
        If the ensemble or the farm cannot be as asked; nothing was started.
    JournalError, FarmError
        If the record or the farm broke; the run can be resumed.
    """
    description = configuration.describe()
    code = _code_if_complete(directory, description)
    if code is not None:
        return code
    configuration.ensemble.check()
    return _Drive(configuration, directory).run(
        description, slots=slots, reuse_changed=reuse_changed
    )


class _Drive:
    def __init__(self, configuration: RunConfiguration, directory: RunDirectory) -> None:
        self._ensemble = configuration.ensemble
        self._options = configuration.options
        self._directory = directory
        self._outcomes: list[AnyOutcome] = []
        self._failures = 0
        self._clock = SystemClock()
        self._follower = Follower(
            directory,
            sys.stderr,
            total=configuration.ensemble.total,
            clock=self._clock,
        )

    def run(self, description: dict[str, Any], *, slots: int | None, reuse_changed: bool) -> int:
        from hpcflow.farm.farm import Farm  # Dask takes a second to import

        try:
            with (
                stopping_in_order(),
                Farm(
                    slots=self._options.slots if slots is None else slots,
                    run=self._directory.path,
                    seed=self._options.seed,
                    ensemble=description,
                    reuse_changed=reuse_changed,
                ) as farm,
                self._follower,
            ):
                keep_options(self._directory, self._options)
                for outcome in self._ensemble.run(farm, self._options):
                    self._take(outcome)
                self._follower.phase = "done"
        except KeyboardInterrupt:
            return self._interrupted()
        return self._close()

    def _take(self, outcome: AnyOutcome) -> None:
        self._outcomes.append(outcome)
        if isinstance(outcome, Succeeded):
            return
        self._failures += 1
        if self._failures <= _FAILURES_SHOWN:
            message = text.one_line(outcome.error.message, _LONGEST_LINE)
            self._follower.note(f"{_how(outcome)}: {outcome.key}: {message}")
        elif self._failures == _FAILURES_SHOWN + 1:
            self._follower.note(f"further failures: hpcflow status {self._directory.path}")

    def _interrupted(self) -> int:
        if not self._directory.journal.exists():
            click.echo("interrupted before anything was started", err=True)
            return EXIT_INTERRUPTED
        verdict = verify(self._directory)
        recorded = verdict.succeeded + verdict.failed + verdict.lost
        total = max(recorded, self._ensemble.total)
        click.echo(
            f"interrupted: {text.count(recorded)} of {text.count(total)} tasks are recorded."
            f" Continue with: hpcflow resume {self._directory.path}",
            err=True,
        )
        return EXIT_INTERRUPTED

    def _close(self) -> int:
        from hpcflow.dashboards.report import write_report  # Bokeh takes a second to import

        ledger = ledger_of(read_journal(self._directory.journal))
        rows = self._ensemble.summary(self._outcomes, held_s=ledger.held_s)
        rows += closing_rows(self._outcomes, ledger)
        missing = self._ensemble.total - len(self._outcomes)
        if missing:
            rows.append(("not run", f"{text.count(missing)}, for want of others they build on"))
        write_report(
            RunSource.open(self._directory.path), self._directory.report, now=self._clock.now()
        )
        rows.append(("report", str(self._directory.report)))
        click.echo(table(rows))
        return _code(self._failures, self._directory)


def _how(outcome: AnyOutcome) -> str:
    when = "before" if outcome.replayed else f"in attempt {outcome.attempt}"
    return f"{'lost' if isinstance(outcome, Lost) else 'failed'} {when}"


def _code_if_complete(directory: RunDirectory, description: dict[str, Any]) -> int | None:
    """Say so where nothing is left to do, and return the exit code; else return None."""
    if not directory.journal.exists():
        return None
    # As TOML has it: what run.toml holds has been through that.
    if read_run_toml(directory).get("ensemble") != tomllib.loads(dump_toml(description)):
        return None
    verdict = verify(directory)
    if not verdict.complete:
        return None
    counts = f"{text.count(verdict.succeeded)} of {text.count(verdict.offered)} tasks succeeded"
    report = f" Report: {directory.report}" if directory.report.exists() else ""
    click.echo(f"{directory.path} is complete: {counts}.{report}")
    return _code(verdict.failed + verdict.lost, directory)


def _code(failures: int, directory: RunDirectory) -> int:
    if not failures:
        return 0
    tasks = "1 task" if failures == 1 else f"{text.count(failures)} tasks"
    click.echo(f"{tasks} failed or were lost: see `hpcflow status {directory.path}`", err=True)
    return 1
