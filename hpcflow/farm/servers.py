"""Dask's scheduler and worker as a farm uses them.

Their HTTP servers are off unless they are asked for: anybody on the machine could read them. A
worker of another installation is refused when it registers, and the scheduler says which were.
"""

from __future__ import annotations

import ast
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from distributed import Client, Scheduler, Worker
from distributed.comm.core import Comm
from distributed.node import ServerNode

from hpcflow.errors import FarmError
from hpcflow.farm.versions import mismatch, own_versions, read_versions

SLOTS = "hpcflow-slots"
"""The Dask resource by which a worker says how many slots it serves."""
REFUSED = "hpcflow-refused"
"""Action of the scheduler's event about a worker that it has refused."""
_VERSIONS = "hpcflow"
_REGISTER = "Unexpected response from register: "


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that the scheduler did not take."""

    worker: str
    slots: int
    """Slots that it would have served."""
    reason: str


class _HttpIfAsked(ServerNode):
    """Serves HTTP only with a `dashboard_address`."""

    def start_http_server(  # noqa: PLR0917  Dask's own signature
        self, routes: Any, dashboard_address: Any, default_port: int = 0, ssl_options: Any = None
    ) -> None:
        if dashboard_address is not None:
            super().start_http_server(  # type: ignore[no-untyped-call]
                routes, dashboard_address, default_port, ssl_options
            )


class FarmScheduler(_HttpIfAsked, Scheduler):
    """Refuses workers of another installation."""

    def __init__(self, **options: Any) -> None:
        """Take Dask's options; HTTP is served only with a `dashboard_address`."""
        super().__init__(**options)
        self.refused: dict[str, Refusal] = {}
        self.handlers["hpcflow_refusals"] = self.refusals

    def refusals(self) -> list[dict[str, Any]]:
        """Return the workers that have been refused, and have not come again as they should."""
        return [msgspec.to_builtins(refusal) for refusal in self.refused.values()]

    async def add_worker(self, comm: Comm, **told: Any) -> None:
        """Add a worker, or tell it why not."""
        name = str(told["name"])
        reason = mismatch(
            read_versions(told.get("extra", {}).get(_VERSIONS)),
            own_versions(),
            who=f"worker {name}",
            peer_name="its scheduler",
        )
        if reason is None:
            self.refused.pop(name, None)
            await super().add_worker(comm, **told)
            return
        slots = int(told.get("resources", {}).get(SLOTS, 0))
        refusal = self.refused[name] = Refusal(worker=name, slots=slots, reason=reason)
        self.log_event("all", {"action": REFUSED, **msgspec.to_builtins(refusal)})
        await comm.write({"status": "error", "message": reason, "time": time.time()})


class FarmWorker(_HttpIfAsked, Worker):
    """Says what it runs on when it registers."""

    def __init__(self, address: str, **options: Any) -> None:
        """Take Dask's options; HTTP is served only with a `dashboard_address`."""
        versions = msgspec.to_builtins(own_versions())
        super().__init__(address, startup_information={_VERSIONS: lambda _: versions}, **options)


@contextlib.contextmanager
def plain_refusal() -> Iterator[None]:
    """Turn Dask's error of a worker that was refused into the scheduler's own words.

    Raises
    ------
    FarmError
        If the worker was refused.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error.__cause__)
        if not said.startswith(_REGISTER):
            raise
        raise FarmError(ast.literal_eval(said.removeprefix(_REGISTER))["message"]) from None


def read_refusals(clients: Sequence[Client]) -> list[Refusal]:
    """Return the workers that schedulers have refused, of those schedulers that are there."""
    return [
        msgspec.convert(each, Refusal)
        for client in clients
        if client.status == "running" and client.scheduler is not None
        for each in client.sync(client.scheduler.hpcflow_refusals)
    ]
