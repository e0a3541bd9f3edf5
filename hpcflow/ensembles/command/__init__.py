"""Any command-line program over a list of inputs."""

from hpcflow.ensembles.command.configuration import CommandConfiguration
from hpcflow.ensembles.command.ensemble import CommandEnsemble
from hpcflow.ensembles.command.execution import CommandError

__all__ = ["CommandConfiguration", "CommandEnsemble", "CommandError"]
