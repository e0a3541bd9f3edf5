"""Which steps of a batch script have ended, as the script notes it for `hpcflow wait`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcflow.errors import FarmError, RequestError

ENDS = "steps-ended.txt"
"""File in the run's logs: a line `NAME CODE` for each step that ended before the driver began."""
_END_OF_LOG = 2000


def parse_steps(text: str) -> dict[str, int]:
    """Return the slots of each worker step of a list such as `workers-first-node:6,workers:36`.

    Raises
    ------
    RequestError
        If it is no such list.
    """
    pairs = [entry.partition(":") for entry in text.split(",")]
    if not all(name and count.isdecimal() for name, _, count in pairs):
        raise RequestError(
            f"cannot read {text!r} as worker steps: they are names with their slots, such as"
            " workers:36. Correct --steps."
        )
    return {name: int(count) for name, _, count in pairs}


class StepsEndedError(FarmError):
    """Steps that the driver cannot do without have ended before it began."""


@dataclass(slots=True, kw_only=True)
class StepWatch:
    """Looks for steps that have ended too early."""

    logs: Path
    """The run's logs: what the script notes, and what the steps print."""
    workers: Mapping[str, int]
    """Slots of each step of workers."""
    slots: int
    """Slots asked for."""
    tell: Callable[[str], None]
    """Called once for each step of workers that is gone."""

    _told: frozenset[str] = frozenset()

    def slots_to_come(self) -> int:
        """Return how many slots there can be: those of ended steps do not come any more.

        Raises
        ------
        StepsEndedError
            If a scheduler has ended, or workers with more than half of the slots have.
        """
        ended = self._ended()
        gone = [name for name in ended if name in self.workers]
        left = self.slots - sum(self.workers[name] for name in gone)
        needed = [name for name in ended if name not in self.workers]
        if needed or 2 * left < self.slots:
            name = (needed or gone)[0]
            raise StepsEndedError(f"cannot start: {self._last_words(name, ended[name])}")
        for name in gone:
            if name not in self._told:
                self._told |= {name}
                self.tell(
                    f"going on without {self.workers[name]:,} slots:"
                    f" {self._last_words(name, ended[name])}"
                )
        return left

    def _ended(self) -> dict[str, str]:
        try:
            lines = (self.logs / ENDS).read_text().splitlines()
        except OSError:
            return {}
        return {name: code for name, _, code in (line.partition(" ") for line in lines)}

    def _last_words(self, name: str, code: str) -> str:
        log = self.logs / f"step-{name}.log"
        try:
            said = log.read_text(errors="replace").strip()[-_END_OF_LOG:]
        except OSError:
            said = ""
        words = f"{str(log)!r} ends:\n{said}" if said else f"{str(log)!r} says nothing"
        return f"step {name} has ended with code {code}. {words}"
