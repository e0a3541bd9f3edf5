"""Molecular dynamics in a journal: the values of segment tasks, recognised by what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from hpcflow.core.event import TasksSucceeded

Floats = npt.NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A mean and its standard error."""

    mean: float
    sem: float


class Segment(msgspec.Struct, frozen=True):
    """What the report needs of a segment's value; other fields are ignored."""

    temperature_k: float
    """Of its thermostat [K]."""
    files: dict[str, str]
    """Paths relative to the run directory."""
    ns: float = 0.0
    """Simulated time [ns]."""
    kinetic_temperature_k: Estimate | None = None


class SegmentFold:
    """Collects segments from successes; anything else passes by."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []

    def apply(self, event: TasksSucceeded) -> None:
        """Take in what succeeded. Only values that stand in the journal are looked at."""
        for value in event.values:
            if isinstance(value, dict) and "temperature_k" in value and "files" in value:
                try:
                    self.segments.append(msgspec.convert(value, Segment))
                except msgspec.ValidationError:
                    continue

    @property
    def temperatures(self) -> list[float]:
        """Thermostat temperatures, from low to high [K]."""
        return sorted({segment.temperature_k for segment in self.segments})

    def at(self, temperature_k: float) -> list[Segment]:
        """Return the segments of one thermostat temperature."""
        return [one for one in self.segments if one.temperature_k == temperature_k]


@dataclass(frozen=True, slots=True, kw_only=True)
class Torsions:
    """Backbone torsions of many frames, all residues together."""

    phi: Floats
    """[degree], from -180 to 180."""
    psi: Floats
    frames: int
    files: int
    """Files read."""
    unread: int
    """Files that are missing, damaged or outside the run directory."""


def read_torsions(directory: Path, segments: Sequence[Segment]) -> Torsions:
    """Return the torsions of segments, as far as their files can be read.

    Parameters
    ----------
    directory
        The run directory, outside of which nothing is read.
    segments
        Whose `files.torsions` are .npy arrays of shape (frames, residues, 2): phi and psi
        [radian].
    """
    names = [segment.files["torsions"] for segment in segments if "torsions" in segment.files]
    read = [array for name in names if (array := _read(directory, name)) is not None]
    pairs = [np.degrees(array).reshape(-1, 2) for array in read]
    both = np.concatenate(pairs) if pairs else np.zeros((0, 2))
    both = both[np.isfinite(both).all(axis=1)]
    both = (both + 180.0) % 360.0 - 180.0
    return Torsions(
        phi=both[:, 0],
        psi=both[:, 1],
        frames=sum(len(array) for array in read),
        files=len(read),
        unread=len(names) - len(read),
    )


def _read(directory: Path, name: str) -> Floats | None:
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(array, np.ndarray) and array.ndim == 3 and array.shape[2] == 2  # noqa: PLR2004
    return array.astype(np.float64) if fits and array.dtype.kind == "f" else None
