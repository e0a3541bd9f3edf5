"""Schedulers and workflow systems: plain Dask, Parsl, Ray and executorlib."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.field.entrant import (
    SLOTS,
    Entrant,
    Function,
    bulk_of_futures,
    drained,
    stream_of_futures,
)

_READY = 100
"""Tasks of Ray that are taken at a time, where more than one is ready."""


@contextlib.contextmanager
def dask() -> Iterator[Entrant]:
    """Two worker processes of a thread each, without dashboard: `client.map`, `as_completed`."""
    from distributed import Client, LocalCluster, as_completed

    with (
        LocalCluster(
            n_workers=SLOTS, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):

        def bulk(function: Function, inputs: Sequence[Any], /) -> float:
            began = time.perf_counter()
            futures = client.map(function, inputs, pure=False)
            results = (
                result
                for batch in as_completed(futures, with_results=True).batches()
                for result in batch
            )
            return drained(results, expected=len(inputs), began=began)

        def streamed(function: Function, inputs: Sequence[Any], width: int) -> Iterator[object]:
            waiting = iter(inputs)
            completed = as_completed(
                client.map(function, list(itertools.islice(waiting, width)), pure=False)
            )
            for future in completed:
                yield future.result()
                for item in itertools.islice(waiting, 1):
                    completed.add(client.submit(function, item, pure=False))

        def stream(function: Function, inputs: Sequence[Any], /, *, width: int) -> float:
            began = time.perf_counter()
            return drained(streamed(function, inputs, width), expected=len(inputs), began=began)

        yield Entrant(bulk=bulk, stream=stream)


@contextlib.contextmanager
def parsl() -> Iterator[Entrant]:
    """HTEX: a block of two workers; prefetch for short tasks; neither strategy nor log files."""
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    with tempfile.TemporaryDirectory() as directory:
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            max_workers_per_node=SLOTS,
            prefetch_capacity=2 * SLOTS,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        config = Config(
            executors=[executor], strategy="none", run_dir=directory, initialize_logging=False
        )
        apps: dict[Function, Any] = {}

        def submit(function: Function, item: Any) -> Any:
            if function not in apps:
                apps[function] = parsl.python_app(function)
            return apps[function](item)

        with parsl.load(config):
            yield Entrant(bulk=bulk_of_futures(submit), stream=stream_of_futures(submit))


@contextlib.contextmanager
def ray() -> Iterator[Entrant]:
    """Two CPUs of one node, without dashboard: remote tasks, taken by `ray.wait`."""
    import ray

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    remotes: dict[Function, Any] = {}

    def submit(function: Function, item: Any) -> Any:
        if function not in remotes:
            remotes[function] = ray.remote(function)
        return remotes[function].remote(item)

    def taken(pending: list[Any]) -> Iterator[object]:
        while pending:
            most = min(_READY, len(pending))
            ready, pending = ray.wait(pending, num_returns=most, fetch_local=True)
            yield from ray.get(ready)

    def bulk(function: Function, inputs: Sequence[Any], /) -> float:
        began = time.perf_counter()
        pending = [submit(function, each) for each in inputs]
        return drained(taken(pending), expected=len(inputs), began=began)

    def streamed(function: Function, inputs: Sequence[Any], width: int) -> Iterator[object]:
        waiting = iter(inputs)
        pending = [submit(function, item) for item in itertools.islice(waiting, width)]
        while pending:
            ready, pending = ray.wait(pending, num_returns=1)
            yield ray.get(ready[0])
            pending.extend(submit(function, item) for item in itertools.islice(waiting, 1))

    def stream(function: Function, inputs: Sequence[Any], /, *, width: int) -> float:
        began = time.perf_counter()
        return drained(streamed(function, inputs, width), expected=len(inputs), began=began)

    try:
        yield Entrant(bulk=bulk, stream=stream)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def executorlib() -> Iterator[Entrant]:
    """`SingleNodeExecutor` with a block of two workers, which its manual advises for many tasks."""
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=SLOTS, block_allocation=True) as workers:
        yield Entrant(
            bulk=bulk_of_futures(workers.submit), stream=stream_of_futures(workers.submit)
        )
