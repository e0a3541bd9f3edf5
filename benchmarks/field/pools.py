"""Pools of processes: the standard library's, joblib's and mpi4py's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.field.entrant import (
    SLOTS,
    Entrant,
    Function,
    bulk_of_futures,
    drained,
    stream_of_callbacks,
    stream_of_futures,
)


@contextlib.contextmanager
def pool() -> Iterator[Entrant]:
    """`multiprocessing.Pool`: `imap_unordered` with a chunk of 1, or one that was tuned by hand."""
    with get_context().Pool(SLOTS) as workers:

        def chunked(function: Function, inputs: Sequence[Any], /, *, chunk: int) -> float:
            began = time.perf_counter()
            results = workers.imap_unordered(function, inputs, chunk)
            return drained(results, expected=len(inputs), began=began)

        yield Entrant(
            bulk=lambda function, inputs: chunked(function, inputs, chunk=1),
            chunked=chunked,
            stream=stream_of_callbacks(
                lambda function, item, put: workers.apply_async(function, (item,), callback=put),
                lambda value: value,
            ),
        )


@contextlib.contextmanager
def executor() -> Iterator[Entrant]:
    """`concurrent.futures.ProcessPoolExecutor`: `submit` and `as_completed`."""
    with ProcessPoolExecutor(SLOTS) as workers:
        yield Entrant(
            bulk=bulk_of_futures(workers.submit), stream=stream_of_futures(workers.submit)
        )


@contextlib.contextmanager
def joblib() -> Iterator[Entrant]:
    """`joblib.Parallel`: the default (loky, chunks that size themselves), results unordered."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=SLOTS, return_as="generator_unordered") as workers:

        def bulk(function: Function, inputs: Sequence[Any], /) -> float:
            began = time.perf_counter()
            results = workers(delayed(function)(each) for each in inputs)
            return drained(results, expected=len(inputs), began=began)

        yield Entrant(bulk=bulk)


@contextlib.contextmanager
def mpi() -> Iterator[Entrant]:
    """`mpi4py.futures`, under `mpiexec -n 3 python -m mpi4py.futures`: `submit`, `as_completed`."""
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(SLOTS) as workers:

        def chunked(function: Function, inputs: Sequence[Any], /, *, chunk: int) -> float:
            began = time.perf_counter()
            results = workers.map(function, inputs, chunksize=chunk, unordered=True)
            return drained(results, expected=len(inputs), began=began)

        yield Entrant(
            bulk=bulk_of_futures(workers.submit),
            chunked=chunked,
            stream=stream_of_futures(workers.submit),
        )
