"""The command line: `hpcflow COMMAND`, each command in a module of its own."""

from __future__ import annotations

import click

from hpcflow import __version__
from hpcflow.cli.group import CommandLine, Entry

_COMMANDS = {
    "run": Entry("hpcflow.cli.run", "Run an ensemble that a TOML file describes."),
    "resume": Entry("hpcflow.cli.resume", "Continue a run where it stopped."),
    "submit": Entry("hpcflow.cli.submit", "Put a driver and its farm on a batch allocation."),
    "logs": Entry("hpcflow.cli.logs", "Print what a run's batch job printed."),
    "cancel": Entry("hpcflow.cli.cancel", "End a run's batch job."),
    "machines": Entry("hpcflow.cli.machines", "List the machines to submit to, or explain one."),
    "scheduler": Entry("hpcflow.cli.scheduler", "In a batch script: be the scheduler."),
    "worker": Entry("hpcflow.cli.worker", "In a batch script: be a worker."),
    "wait": Entry("hpcflow.cli.wait", "In a batch script: wait for the workers."),
    "follow-up": Entry("hpcflow.cli.follow_up", "In a batch script: end a chain of batch jobs."),
    "status": Entry("hpcflow.cli.status", "Say how a run stands: live, dead or copied."),
    "watch": Entry("hpcflow.cli.watch", "Follow a run in the terminal."),
    "timings": Entry("hpcflow.cli.timings", "Write one CSV row for every attempt."),
    "report": Entry("hpcflow.cli.report", "Write the whole run as one HTML file."),
    "verify": Entry("hpcflow.cli.verify", "Prove that no task was lost or recorded twice."),
}


@click.group(
    cls=CommandLine,
    entries=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0, all is well; 1, tasks failed or were lost, or a run does not verify;"
    " 2, the request cannot be met, and nothing was started; 3, the farm or the journal broke, and"
    " the run can be resumed; 130, interrupted, and the run can be resumed.",
)
@click.version_option(__version__, message="hpcflow %(version)s")
def main() -> None:
    """Run many tasks on every core or GPU at hand, and lose nothing when something dies.

    A TOML file describes a run, or a Python driver that uses hpcflow.Farm. Either leaves a run
    directory; the other commands read it while the run is live, when it is dead, or from a copy.

    \b
    Example:
      hpcflow run configs/runs/primes.toml --run runs/primes
      hpcflow status runs/primes
      hpcflow resume runs/primes
    """  # noqa: D301  click's \b keeps the lines as they are
