"""A preload is loaded once in every runner: early, late and restarted ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcflow import Farm, FarmError, TaskError, preloaded


def make_loader(notes: Path) -> Callable[[int], dict[str, int]]:
    def load(weight: int) -> dict[str, int]:
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return {"weight": weight}

    return load


def weigh(number: int) -> tuple[int, int]:
    time.sleep(0.02)
    if number == -1:
        os._exit(1)
    return os.getpid(), number * preloaded("model")["weight"]


def test_loads_equal_runners_a_restarted_one_included(tmp_path: Path) -> None:
    notes = tmp_path / "loads"
    with Farm(slots=2) as farm:
        farm.preload("model", make_loader(notes), 10)
        farm.wait_for_slots()
        outcomes = [o.result() for o in farm.map(weigh, range(20))]
        assert sorted(value for _, value in outcomes) == [10 * n for n in range(20)]
        assert len(notes.read_text().splitlines()) == 2
        list(farm.map(weigh, [-1]))
        farm.wait_for_slots()
        runners = {pid for pid, _ in outcomes}
        runners |= {o.result()[0] for o in farm.map(weigh, range(40))}
    loads = notes.read_text().splitlines()
    assert len(loads) == len(set(loads)) == 3
    assert runners <= set(map(int, loads))


def test_a_preload_may_come_while_the_farm_runs(tmp_path: Path) -> None:
    with Farm(slots=2) as farm:
        assert [o.result() for o in farm.map(abs, [-1])] == [1]
        farm.preload("model", make_loader(tmp_path / "loads"), 2)
        assert sorted(o.result()[1] for o in farm.map(weigh, range(4))) == [0, 2, 4, 6]


def test_a_load_that_raises_is_told_with_its_traceback() -> None:
    def load() -> None:
        raise LookupError("no such model")

    with Farm(slots=2) as farm:
        farm.preload("model", load)
        with pytest.raises(FarmError, match=r"(?s)cannot start any of 2 slots.*no such model"):
            list(farm.map(abs, [1]))


def test_a_name_that_was_not_preloaded_is_told() -> None:
    with Farm(slots=1) as farm:
        (outcome,) = farm.map(lambda _: preloaded("model"), [0])
        with pytest.raises(TaskError, match="cannot find preload 'model'"):
            outcome.result()


def test_outside_a_task_there_is_no_preload() -> None:
    with pytest.raises(FarmError, match="cannot find preload"):
        preloaded("model")
