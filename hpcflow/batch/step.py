"""The seam between what a step needs and the launcher that starts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

END_BY_SIGNAL = 'kill "${steps[@]}" 2> /dev/null'
"""Ends steps whose launcher passes the signal on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A process group on nodes of the allocation, the same on each."""

    name: str
    """Names its files."""
    first_node: int = 0
    """Position in the allocation of its first node."""
    nodes: int = 1
    processes: int = 1
    """Processes on each node."""
    cores: int
    """Physical cores of each process."""
    gpus: int = 0
    """GPUs of each node, shared evenly by its processes."""
    first_core: int = 0
    """First of its cores on each node, where cores can be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a script starts a step."""

    words: tuple[str, ...]
    """The launcher's command and options, not quoted yet; nothing starts the command directly."""
    prepare: tuple[str, ...] = ()
    """Lines of bash to run before."""
    option: str = ""
    """One more option, quoted already: it names a file in the run directory."""


class StepLauncher(Protocol):
    """Starts steps within an allocation."""

    exclusive: bool
    """Whether a core that one step holds is kept from all others.

    If so, each step asks for its own cores. If not, workers are told how many to leave alone."""
    places_in_order: bool
    """Whether where a step goes depends on which steps are there already."""
    script_on_first_node: bool
    """Whether the batch script itself runs on the first node; then so does the driver."""

    end_steps: str
    """Line of bash that asks the processes of all steps to end."""

    def launch(self, step: Step) -> Launch:
        """Return how to start a step."""
        ...
