"""Who takes part, and how each is started."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.field import ensemble, farms, pools, workflows
from benchmarks.field.entrant import SLOTS, Entrant

HPCFLOW = "hpcflow"
HPCFLOW_OFF = "hpcflow, journal off"
DASK, PARSL, RAY = "plain Dask", "Parsl HTEX", "Ray"
POOL, EXECUTOR = "multiprocessing.Pool", "ProcessPoolExecutor"
_MPI = "mpi4py.futures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A package, and one way to use it."""

    open: Callable[[], contextlib.AbstractContextManager[Entrant]]
    distribution: str | None
    """What is to be installed; None for the standard library."""
    micro: bool = False
    """Whether tasks of a microsecond are for it."""
    blobs: bool = True
    """Whether tasks of bytes are for it."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that its process needs."""

    @property
    def settings(self) -> str:
        """How it is used."""
        function = self.open.func if isinstance(self.open, functools.partial) else self.open
        return (function.__doc__ or "").strip()

    def version(self) -> str | None:
        """Return its version; None if it is not installed."""
        if self.distribution is None:
            return "standard library"
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None


CANDIDATES: dict[str, Candidate] = {
    HPCFLOW: Candidate(open=farms.farm, distribution="hpcflow", micro=True),
    HPCFLOW_OFF: Candidate(
        open=functools.partial(farms.farm, journal=False), distribution="hpcflow", micro=True
    ),
    POOL: Candidate(open=pools.pool, distribution=None),
    EXECUTOR: Candidate(open=pools.executor, distribution=None),
    "joblib": Candidate(open=pools.joblib, distribution="joblib"),
    _MPI: Candidate(open=pools.mpi, distribution="mpi4py"),
    DASK: Candidate(open=workflows.dask, distribution="distributed"),
    PARSL: Candidate(open=workflows.parsl, distribution="parsl"),
    RAY: Candidate(
        open=workflows.ray,
        distribution="ray",
        environment=(("RAY_AUTH_MODE", "disabled"), ("RAY_USAGE_STATS_ENABLED", "0")),
    ),
    "executorlib": Candidate(open=workflows.executorlib, distribution="executorlib"),
    "libEnsemble": Candidate(open=ensemble.libensemble, distribution="libensemble", blobs=False),
}


def why_absent(name: str) -> str | None:
    """Return why a candidate cannot take part here, or None."""
    candidate = CANDIDATES[name]
    if candidate.version() is None:
        return f"{candidate.distribution} is not installed"
    if name == _MPI and _mpiexec() is None:
        return "mpiexec is not installed"
    return None


def command(name: str) -> list[str]:
    """Return what runs a Python module for a candidate, without the module and its arguments."""
    mpiexec = _mpiexec()
    if name == _MPI and mpiexec is not None:
        return [mpiexec, "-n", str(SLOTS + 1), sys.executable, "-m", "mpi4py.futures"]
    return [sys.executable]


def _mpiexec() -> str | None:
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")
