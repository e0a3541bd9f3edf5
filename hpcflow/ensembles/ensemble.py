"""What every ensemble is to the command line: checked, described, run, summed up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec

from hpcflow.core.task import AnyOutcome

if TYPE_CHECKING:
    from hpcflow.farm.farm import Farm


class FarmOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[farm]` table of a run configuration: what is asked of the farm, whatever runs on it."""

    slots: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tasks that run at a time; by default the cores we may use."""
    seed: int | None = None
    """Seed of the run, from which each task's own is derived; drawn once by default."""
    retries: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Further attempts at a task that failed."""
    time_limit_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Longest time one attempt at a task may take [s]; none by default."""


class Ensemble(Protocol):
    """Many tasks of one kind, described by a file.

    An ensemble is built from its configuration without touching anything; `check` looks at the
    machine; `run` is a driver as any user would write it, on the farm's public methods.
    """

    def check(self) -> None:
        """Look for everything that can be known before a task runs.

        Raises
        ------
        RequestError
            If a file is missing, an option contradicts another, or there is nothing to run.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return the resolved description, with absolute paths, as a TOML-able mapping.

        It is stored in the run directory, compared when the run is continued, and enough to
        build the same ensemble again.
        """
        ...

    @property
    def total(self) -> int:
        """Number of tasks."""
        ...

    def run(self, farm: Farm, options: FarmOptions) -> Iterator[AnyOutcome]:
        """Drive `farm` and yield each outcome as it comes, replayed ones included.

        Parameters
        ----------
        farm
            An open farm; the caller closes it.
        options
            Where retries and the time limit come from.
        """
        ...

    def summary(self, outcomes: Sequence[AnyOutcome], *, held_s: float) -> list[tuple[str, str]]:
        """Return rows (what, how much with its unit) for the table that closes a run.

        Parameters
        ----------
        outcomes
            All outcomes, replayed ones included.
        held_s
            Time in which the run's sessions held their slots [s], pauses between them left out.
        """
        ...
