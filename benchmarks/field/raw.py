"""A raw round trip over the transport of the lanes: Dask's connection under TLS, and pickles.

Run with a directory that holds credentials, this is the other end: a process that says its
address, opens the pickle of whatever comes and sends a pickle of the same back.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed.comm.core import Comm, CommClosedError, connect, listen

from benchmarks.field.entrant import Entrant, Function
from benchmarks.peer import ROOT, environment_with
from hpcflow.farm.security import create_credentials, load_security


@contextlib.contextmanager
def raw(directory: Path) -> Iterator[Entrant]:
    """Open the connection: its streams are one at a time, and run no function."""
    directory.mkdir(mode=0o700)
    create_credentials(directory)
    other = subprocess.Popen(
        [sys.executable, "-m", __name__, str(directory)],
        cwd=ROOT,
        env=environment_with({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    address = other.stdout.readline().strip()
    loop = asyncio.new_event_loop()
    comm = loop.run_until_complete(connect(address, **_arguments(directory, "client")))

    def stream(_: Function, inputs: Sequence[Any], /, *, width: int) -> float:
        assert width == 1, "a raw connection takes one at a time"
        return loop.run_until_complete(_exchange(comm, inputs))

    def bulk(function: Function, inputs: Sequence[Any], /) -> float:
        return stream(function, inputs, width=1)

    try:
        yield Entrant(bulk=bulk, stream=stream)
    finally:
        comm.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        other.terminate()
        other.communicate()


def _arguments(directory: Path, role: str) -> dict[str, Any]:
    arguments: dict[str, Any] = load_security(directory).get_connection_args(role)
    return arguments


async def _exchange(comm: Comm, inputs: Sequence[Any]) -> float:
    began = time.perf_counter()
    for each in inputs:
        await comm.write(pickle.dumps(each, 5))
        pickle.loads(await comm.read())
    return time.perf_counter() - began


async def _serve(directory: Path) -> None:
    async def answer(comm: Comm) -> None:
        with contextlib.suppress(CommClosedError):
            while True:
                await comm.write(pickle.dumps(pickle.loads(await comm.read()), 5))

    listener = await listen("tls://127.0.0.1", answer, **_listening(directory))
    print(listener.contact_address, flush=True)
    await asyncio.Event().wait()


def _listening(directory: Path) -> dict[str, Any]:
    arguments: dict[str, Any] = load_security(directory).get_listen_args("worker")
    return arguments


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
