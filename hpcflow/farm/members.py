"""Which workers a farm's schedulers have, told to its dispatcher."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from distributed import Client

from hpcflow.errors import FarmError
from hpcflow.farm.mail import Broken, Request, Worker
from hpcflow.farm.servers import REFUSED, Refusal, read_refusals
from hpcflow.farm.transport import GaveUp

_ANSWER_S = 120.0


class Members:
    """Follows the workers of every shard; a shard that goes takes its own along, and no others."""

    def __init__(self, clients: Sequence[Client], post: Callable[[Request | GaveUp], None]) -> None:
        """Follow nobody yet.

        Parameters
        ----------
        clients
            A client of each shard's scheduler, in their order.
        post
            Puts word into the dispatcher's mailbox, from any thread.
        """
        self._clients = clients
        self._post = post
        self._lock = threading.Lock()
        self._shards: dict[int, set[str]] = {n: set() for n in range(1, len(clients) + 1)}
        """Workers of each shard that is there."""

    def follow(self) -> None:
        """Hear of every worker: those that come from now on, and then those that are there.

        Raises
        ------
        FarmError
            If a scheduler does not answer.
        """
        for shard, client in enumerate(self._clients, start=1):
            self._follow(shard, client)

    def _follow(self, shard: int, client: Client) -> None:
        """Subscribe, and ask who is there already.

        A subscription travels on another connection than questions do, so a worker that comes
        between the two could be missed: the first event of a second one shows that both hold.
        """
        follows, topic = threading.Event(), f"hpcflow-{os.getpid()}-{id(self)}"
        client.subscribe_topic("all", lambda event: self._scheduler_said(shard, event))
        client.subscribe_topic(topic, lambda _: follows.set())
        deadline = time.monotonic() + _ANSWER_S
        while not follows.wait(0.01):
            client.log_event(topic, "ready?")
            if time.monotonic() > deadline:
                raise FarmError(
                    f"cannot follow the workers: a scheduler has not answered for {_ANSWER_S:g} s."
                    " Look into its log."
                )
        client.unsubscribe_topic(topic)
        for address in client.scheduler_info(n_workers=-1)["workers"]:
            self._tell(shard, address, up=True)
        for refusal in read_refusals([client]):
            self._refuse(refusal)

    def _scheduler_said(self, shard: int, event: tuple[float, Any]) -> None:
        match event[1]:
            case {"action": "add-worker", "worker": str(address)}:
                self._tell(shard, address, up=True)
            case {"action": "remove-worker", "worker": str(address)}:
                self._tell(shard, address, up=False)
            case {"action": action, **refusal} if action == REFUSED:
                self._refuse(msgspec.convert(refusal, Refusal))

    def _refuse(self, refusal: Refusal) -> None:
        """Give up the slots of a worker that the scheduler has not taken."""
        for index in range(refusal.slots):
            self._post(GaveUp(f"{refusal.worker}.{index}", refusal.reason))

    def _tell(self, shard: int, address: str, *, up: bool) -> None:
        with self._lock:
            members = self._shards.get(shard)
            if members is None:
                return
            if up:
                members.add(address)
            else:
                members.discard(address)
            self._post(Worker(address, up=up, shard=shard))

    def gone(self, error: FarmError, shard: int | None) -> None:
        """Let go of a shard whose scheduler is gone; without any other, the farm is broken."""
        with self._lock:
            if shard is not None:
                for address in self._shards.pop(shard, ()):
                    self._post(Worker(address, up=False, shard=shard))
            if shard is None or not self._shards:
                self._post(Broken(error))
