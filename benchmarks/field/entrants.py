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
    settings: str
    """How it is used, and with which settings that are not its own."""
    distribution: str | None
    """What is to be installed; None for the standard library."""
    micro: bool = False
    """Whether tasks of a microsecond are for it."""
    blobs: bool = True
    """Whether tasks of bytes are for it."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that its process needs."""

    def version(self) -> str | None:
        """Return its version; None if it is not installed."""
        if self.distribution is None:
            return "standard library"
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None


CANDIDATES: dict[str, Candidate] = {
    HPCFLOW: Candidate(
        open=farms.farm,
        settings="`map` and `stream`, a run directory, TLS; `cost=` where longest first",
        distribution="hpcflow",
        micro=True,
    ),
    HPCFLOW_OFF: Candidate(
        open=functools.partial(farms.farm, journal=False),
        settings="the same without a run directory",
        distribution="hpcflow",
        micro=True,
    ),
    POOL: Candidate(
        open=pools.pool,
        settings="`imap_unordered`, chunk 1 or tuned; streams by `apply_async` with a callback",
        distribution=None,
    ),
    EXECUTOR: Candidate(
        open=pools.executor,
        settings="`submit` and `as_completed`; streams by `add_done_callback`",
        distribution=None,
    ),
    "joblib": Candidate(
        open=pools.joblib,
        settings='`Parallel(return_as="generator_unordered")`: loky, batches that size themselves',
        distribution="joblib",
    ),
    _MPI: Candidate(
        open=pools.mpi,
        settings="`mpiexec -n 3 python -m mpi4py.futures`; as ProcessPoolExecutor",
        distribution="mpi4py",
    ),
    DASK: Candidate(
        open=workflows.dask,
        settings="`LocalCluster` of 2 workers with a thread each, no dashboard; `client.map`,"
        " `as_completed` in batches; streams by `add`",
        distribution="distributed",
    ),
    PARSL: Candidate(
        open=workflows.parsl,
        settings="HTEX, a block of 2 workers, `prefetch_capacity=4`, no strategy, no log files;"
        " as ProcessPoolExecutor",
        distribution="parsl",
    ),
    RAY: Candidate(
        open=workflows.ray,
        settings="2 CPUs, no dashboard, no tokens; remote tasks, `ray.wait` for up to 100",
        distribution="ray",
        environment=(("RAY_AUTH_MODE", "disabled"), ("RAY_USAGE_STATS_ENABLED", "0")),
    ),
    "executorlib": Candidate(
        open=workflows.executorlib,
        settings="`SingleNodeExecutor(block_allocation=True)`; as ProcessPoolExecutor",
        distribution="executorlib",
    ),
    "libEnsemble": Candidate(
        open=ensemble.libensemble,
        settings="local comms, 2 workers; `give_pregenerated_sim_work`, streams by a persistent"
        " generator on the manager; no log files, no resource manager",
        distribution="libensemble",
        blobs=False,
    ),
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
