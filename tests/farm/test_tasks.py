"""Chunks as Dask tasks: what Dask sees of them, and what becomes of those that it drops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client, Future, get_task_stream

from hpcflow import Farm
from hpcflow.core.stimulus import Leave
from tests.farm.transports import Bench, bench

if TYPE_CHECKING:
    from distributed import Scheduler, Worker


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    """Give the transport with a slot that is up."""
    with bench("tasks", tmp_path) as one:
        one.wait_for_slots(1)
        yield one


def _look(dask_scheduler: Scheduler) -> dict[str, Any]:
    return {
        "tasks": {key: task.state for key, task in dask_scheduler.tasks.items()},
        "prefixes": list(dask_scheduler.task_prefixes),
        "pinned": [task.worker_restrictions for task in dask_scheduler.tasks.values()],
        "workers": list(dask_scheduler.workers),
    }


def _seen_by(client: Client) -> dict[str, Any]:
    seen: dict[str, Any] = client.run_on_scheduler(_look)
    return seen


def _threads(client: Client) -> set[int]:
    def look(dask_worker: Worker) -> int:
        return dask_worker.state.nthreads

    return set(client.run(look).values())


def _hold(path: str) -> str:
    Path(path).with_suffix(".there").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return "went"


def _echo(value: str) -> str:
    return value


def test_a_chunk_is_a_dask_task_of_its_worker_until_its_outcome_is_taken(
    one: Bench, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    held = one.send("w0.0", one.call(_hold), [str(gate)])
    behind = one.send("w0.0", one.call(_echo), ["x"])
    one.wait(gate.with_suffix(".there").exists)
    (client,) = one.clients
    one.wait(lambda: len(_seen_by(client)["tasks"]) == 2)
    seen = _seen_by(client)
    assert [key.split("-")[:2] for key in seen["tasks"]] == [["chunk", "1"], ["chunk", "2"]]
    assert set(seen["tasks"].values()) == {"processing"}
    assert seen["pinned"] == [set(seen["workers"])] * 2
    assert "chunk" in seen["prefixes"]
    gate.touch()
    assert one.wait_for(held, 1) == ["went"]
    assert one.wait_for(behind, 1) == ["x"]
    one.wait(lambda: not _seen_by(client)["tasks"])


def test_chunks_take_up_no_thread_of_plain_tasks(one: Bench, tmp_path: Path) -> None:
    (client,) = one.clients
    gate = tmp_path / "gate"
    chunks = [one.send("w0.0", one.call(_hold), [str(gate)]) for _ in range(5)]
    one.wait(lambda: _threads(client) == {6})
    assert client.submit(_echo, "plain").result(timeout=60) == "plain"
    gate.touch()
    for chunk in chunks:
        assert one.wait_for(chunk, 1) == ["went"]
    one.wait(lambda: _threads(client) == {1})


def test_a_chunk_that_dask_drops_is_given_back_and_blames_nobody(
    one: Bench, tmp_path: Path
) -> None:
    (client,) = one.clients
    one.send("w0.0", one.call(_hold), [str(tmp_path / "gate")])
    one.wait((tmp_path / "gate.there").exists)
    (key,) = _seen_by(client)["tasks"]
    client.cancel([Future(key, client)], force=True)
    leave = one.wait_for_leave("w0.0")
    assert leave.on_request
    assert leave.failure is None
    one.wait_for_slots(1)
    assert one.story("w0.0") == ["Joined", "Leave", "Joined"]
    assert one.wait_for(one.send("w0.0", one.call(_echo), ["y"]), 1) == ["y"]
    assert len(one.of("w0.0", Leave)) == 1
    one.wait(lambda: _threads(client) == {1})


def test_a_chunk_of_a_runner_that_ends_takes_up_no_room_any_more(
    one: Bench, tmp_path: Path
) -> None:
    (client,) = one.clients
    chunk = one.send("w0.0", one.call(_hold), [str(tmp_path / "gate")])
    one.send("w0.0", one.call(_echo), ["behind"])
    one.wait((tmp_path / "gate.there").exists)
    one.do(one.transport.kill, "w0.0", chunk)
    one.wait_for_leave("w0.0")
    one.wait(lambda: not _seen_by(client)["tasks"])
    assert _threads(client) == {1}


def test_dasks_task_stream_shows_chunks_and_its_scheduler_forgets_them() -> None:
    with Farm(slots=2, transport="tasks") as farm:
        with get_task_stream(farm.client) as stream:
            assert sum(1 for _ in farm.map(time.sleep, [0.05] * 40)) == 40
        assert all(shown["key"].startswith("chunk-") for shown in stream.data)
        assert 1 <= len(stream.data) <= 40
        deadline = time.monotonic() + 60
        while (seen := _seen_by(farm.client))["tasks"]:
            assert time.monotonic() < deadline, f"it holds {seen['tasks']}"
            time.sleep(0.05)
        assert seen["prefixes"].count("chunk") == 1
        assert not [prefix for prefix in seen["prefixes"] if prefix.startswith("chunk-")]
