"""Slots with a device next to slots without."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hpcflow import Farm, current_task
from hpcflow.core.event import SlotJoined
from hpcflow.errors import RequestError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal


def _place(_: int) -> tuple[str, str, str | None]:
    task = current_task()
    return task.slot, task.device, os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    run = tmp_path_factory.mktemp("pools") / "run"
    with Farm(slots=4, devices=("0", "1"), cpu_slots=2, run=run) as farm:
        farm.wait_for_slots()
        yield farm


def _used(farm: Farm, pool: str | None) -> dict[str, set[str | None]]:
    """Return the values of CUDA_VISIBLE_DEVICES that tasks saw, by the device of their slot."""
    seen: dict[str, set[str | None]] = defaultdict(set)
    slots = set()
    for outcome in farm.map(_place, range(200), pool=pool):
        slot, device, visible = outcome.result()
        slots.add(slot)
        seen[device].add(visible)
    assert len(slots) == {"gpu": 4, "cpu": 2, None: 6}[pool]
    return dict(seen)


def test_tasks_of_a_pool_run_on_its_slots_alone(farm: Farm) -> None:
    assert _used(farm, "gpu") == {"0": {"0"}, "1": {"1"}}
    assert set(_used(farm, "cpu")) == {"cpu"}


def test_tasks_of_no_pool_run_on_every_slot(farm: Farm) -> None:
    assert set(_used(farm, None)) == {"0", "1", "cpu"}


def test_two_pools_work_side_by_side(farm: Farm) -> None:
    with (
        farm.stream(_place, stage="on-gpu", pool="gpu") as on_gpu,
        farm.stream(_place, stage="on-cpu", pool="cpu") as on_cpu,
    ):
        on_gpu.submit_all(range(50))
        on_cpu.submit_all(range(50))
        devices = [{outcome.result()[1] for outcome in each} for each in (on_gpu, on_cpu)]
    assert devices == [{"0", "1"}, {"cpu"}]


def test_the_journal_tells_where_slots_are(farm: Farm) -> None:
    assert isinstance(farm.directory, RunDirectory)
    events = read_journal(farm.directory.journal)
    joined = {event.slot: event.device for event in events if isinstance(event, SlotJoined)}
    assert sorted(joined.values()) == ["0", "0", "1", "1", "cpu", "cpu"]


def test_a_pool_that_the_farm_does_not_have_is_refused(farm: Farm) -> None:
    with pytest.raises(
        RequestError, match=r"cannot run tasks in pool 'gpus': the farm has gpu and"
    ):
        farm.map(_place, [1], pool="gpus")


def test_on_a_farm_without_devices_the_gpu_pool_is_refused() -> None:
    with (
        Farm(slots=1) as farm,
        pytest.raises(
            RequestError, match=r"the farm has cpu slots\. Name 'cpu', or leave `pool` out"
        ),
    ):
        farm.stream(_place, pool="gpu")


@pytest.mark.parametrize(
    ("slots", "devices", "cpu_slots", "why"),
    [
        (3, ("0", "1"), 0, "cannot place 3 slots on devices"),
        (2, ("0", "0"), 0, "cannot place 2 slots on devices"),
        (2, "01", 0, "cannot place 2 slots on devices"),
        (2, (), 1, "cannot place 1 CPU slots"),
        (2, ("0",), -1, "cannot place -1 CPU slots"),
    ],
)
def test_devices_that_do_not_go_up_are_refused(
    tmp_path: Path, slots: int, devices: Sequence[str], cpu_slots: int, why: str
) -> None:
    with pytest.raises(RequestError, match=why):
        Farm(slots=slots, devices=devices, cpu_slots=cpu_slots, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
