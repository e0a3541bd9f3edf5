"""A static fan-out: lazily read, as completed, for any function and any iterable."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcflow import Farm, FarmError, RequestError, Succeeded, TaskError, current_task


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=2) as farm:
        yield farm


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def scale(self, number: int) -> int:
        return self.factor * number


def test_every_task_has_one_outcome_with_its_value(farm: Farm) -> None:
    outcomes = list(farm.map(lambda n: n * n, range(1000)))
    assert sorted(outcome.result() for outcome in outcomes) == [n * n for n in range(1000)]
    assert len({outcome.key for outcome in outcomes}) == 1000


def test_lambdas_closures_and_methods_run(farm: Farm) -> None:
    factor = 3
    for function in (lambda n: factor * n, Scaler(factor).scale):
        assert sorted(o.result() for o in farm.map(function, range(5))) == [0, 3, 6, 9, 12]


def test_an_outcome_says_where_and_when_it_ended(farm: Farm) -> None:
    (outcome,) = farm.map(lambda _: os.getpid(), ["x"], stage="where")
    assert isinstance(outcome, Succeeded)
    assert outcome.value != os.getpid()
    assert outcome.stage == "where"
    assert (outcome.attempt, outcome.replayed, outcome.device) == (1, False, "cpu")
    assert outcome.slot.startswith(f"{outcome.worker}.")
    assert outcome.host
    stamps = [
        outcome.created,
        outcome.submitted,
        outcome.started,
        outcome.finished,
        outcome.collected,
    ]
    assert stamps == sorted(stamps)
    assert time.time() - 60 < stamps[0] < time.time()


def test_values_of_any_kind_come_back_equal(farm: Farm) -> None:
    values = [
        (1, 2),
        {3, 4},
        {"a": (5,)},
        b"raw",
        float("inf"),
        2**70,
        "\ud800",
        None,
        [[]],
        "x" * 10**6,
    ]
    outcomes = list(farm.map(lambda v: v, values, key=lambda v: str(values.index(v))))
    for outcome in outcomes:
        expected = values[int(outcome.key)]
        assert outcome.result() == expected
        assert type(outcome.result()) is type(expected)


def test_an_endless_iterable_is_read_no_further_than_needed(farm: Farm) -> None:
    read = itertools.count(1)

    def numbers() -> Iterator[int]:
        while True:
            yield next(read)

    outcomes = farm.map(lambda n: time.sleep(0.2), numbers())
    for _ in range(4):
        next(outcomes)
    assert next(read) < 20
    outcomes.close()
    assert list(outcomes) == []


def test_a_slow_driver_does_not_starve_the_slots(farm: Farm) -> None:
    outcomes = farm.map(lambda n: time.sleep(0.1), range(10))
    first = next(outcomes)
    time.sleep(1.5)  # the driver is busy; meanwhile the slots must have done the rest
    busy_until = time.time()
    rest = list(outcomes)
    assert len(rest) == 9
    assert any(outcome.collected < busy_until for outcome in rest[2:])
    assert first.collected < busy_until


def test_what_an_iterable_raises_reaches_the_driver(farm: Farm) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no more input")

    with pytest.raises(LookupError, match="no more input"):
        list(farm.map(abs, broken()))


def test_closing_a_map_frees_the_slots_at_once(farm: Farm) -> None:
    outcomes = farm.map(lambda n: time.sleep(0 if n == 0 else 600), range(8))
    next(outcomes)
    outcomes.close()
    began = time.monotonic()
    assert [o.result() for o in farm.map(abs, [-1])] == [1]
    assert time.monotonic() - began < 60


def test_a_loop_goes_on_where_the_last_one_left_off(farm: Farm) -> None:
    outcomes = farm.map(abs, range(2000))
    seen = [outcome.result() for outcome in itertools.islice(outcomes, 700)]
    seen.append(next(outcomes).result())
    seen += [outcome.result() for outcome in outcomes]
    assert sorted(seen) == list(range(2000))
    assert list(outcomes) == []


def test_a_map_that_is_closed_in_its_loop_ends_there(farm: Farm) -> None:
    outcomes = farm.map(abs, itertools.count())
    for count, _ in enumerate(outcomes, 1):
        if count == 500:
            outcomes.close()
    assert count == 500


def test_a_loop_that_is_left_frees_the_slots(farm: Farm) -> None:
    for _ in farm.map(lambda n: time.sleep(0 if n == 0 else 600), range(8)):
        break
    assert [o.result() for o in farm.map(abs, [-1])] == [1]


def test_inputs_of_all_kinds_keep_their_places(farm: Farm) -> None:
    inputs = [3, 0.5, None, True, *range(500), "text", 7, (1, 2), 10**50, 2.5]
    outcomes = list(farm.map(lambda each: [each], inputs))
    values = {int(o.key.partition("-")[0]): o.result()[0] for o in outcomes}
    assert [values[place] for place in range(len(inputs))] == inputs
    assert {o.key for o in outcomes if o.result()[0] in (3, 0.5)} >= {"0-3", "1-0.5"}


def test_an_outcome_does_not_wait_for_a_long_task_of_its_chunk(farm: Farm, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait_at_the_end(number: int) -> int:
        while number == 999 and not gate.exists():
            time.sleep(0.01)
        return number

    outcomes = farm.map(wait_at_the_end, range(1000))
    early = [next(outcomes).result() for _ in range(999)]
    gate.touch()
    assert [outcome.result() for outcome in outcomes] == [999]
    assert sorted(early) == list(range(999))


def test_two_maps_at_once_share_the_slots(farm: Farm) -> None:
    endless = farm.map(lambda n: time.sleep(0.01), itertools.count())
    assert sorted(o.result() for o in farm.map(abs, range(50))) == list(range(50))
    endless.close()


def test_a_task_knows_its_name_and_its_seed(farm: Farm) -> None:
    def who(_: int) -> tuple[str, str, int, int]:
        task = current_task()
        return task.key, task.stage, task.attempt, task.seed

    seeds = []
    for outcome in farm.map(who, range(3), stage="who", key=lambda n: f"t{n}"):
        key, stage, attempt, seed = outcome.result()
        assert (key, stage, attempt) == (outcome.key, "who", 1)
        seeds.append(seed)
    assert len(set(seeds)) == 3


def test_a_task_with_a_time_limit_knows_the_time_left(farm: Farm) -> None:
    (limited,) = farm.map(lambda _: current_task().time_left_s(), [0], time_limit_s=50)
    assert 40 < limited.result() <= 50
    (unlimited,) = farm.map(lambda _: current_task().time_left_s(), [0])
    assert unlimited.result() is None


def test_a_task_has_a_directory_of_its_own(farm: Farm) -> None:
    def write(_: int) -> str:
        (current_task().directory / "note").write_text("here")
        return str(current_task().directory)

    directories = [outcome.result() for outcome in farm.map(write, range(3))]
    assert len(set(directories)) == 3


def test_the_result_of_a_failed_task_raises_what_happened(farm: Farm) -> None:
    (outcome,) = farm.map(lambda n: 1 // n, [0])
    with pytest.raises(TaskError, match="ZeroDivisionError"):
        outcome.result()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": lambda _: "same"}, "cannot name two tasks 'same'"),
        ({"key": lambda n: f"a/{n}"}, "cannot name a task 'a/1'"),
        ({"key": lambda n: f"a\n{n}"}, "control character"),
        ({"key": lambda n: f"a\0{n}"}, "control character"),
        ({"key": lambda n: n}, "a key is a string, not int"),
        ({"key": lambda _: ""}, "Choose another key"),
        ({"retries": -1}, "retries are a whole number, 0 or more"),
        ({"time_limit_s": 0.0}, "more than 0 s"),
        ({"time_limit_s": float("nan")}, "more than 0 s"),
        ({"stage": "a/b"}, "cannot name a"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(
    farm: Farm, options: dict[str, object], message: str
) -> None:
    offered = farm.statistics().offered
    with pytest.raises(RequestError, match=message):
        farm.map(abs, [1, 2], **options)  # type: ignore[arg-type]
    assert farm.statistics().offered == offered


def test_a_function_that_cannot_be_pickled_is_refused_with_the_part(farm: Farm) -> None:
    lock = threading.Lock()
    with pytest.raises(RequestError, match=r"function hold.*variable 'lock'.*_thread.lock"):
        farm.map(function_holding(lock), [1])


def function_holding(lock: object) -> Callable[[int], object]:
    def hold(_: int) -> object:
        return lock

    return hold


def test_a_task_that_cannot_be_pickled_is_refused_with_the_part(farm: Farm) -> None:
    with pytest.raises(RequestError, match=r"task 1 .*item 'model' > .*_thread.lock"):
        farm.map(abs, [1, {"model": [threading.Lock()]}])


def test_a_task_that_cannot_be_pickled_is_named_when_it_is_read(farm: Farm) -> None:
    with pytest.raises(RequestError, match="task 2 of stage"):
        list(farm.map(abs, iter([1, 2, threading.Lock()])))


def test_duplicate_keys_of_a_lazy_iterable_are_named_when_they_are_read(farm: Farm) -> None:
    with pytest.raises(RequestError, match="cannot name two tasks 'same'"):
        list(farm.map(abs, iter([1, 2]), key=lambda _: "same"))


def test_a_stage_name_serves_once(farm: Farm) -> None:
    list(farm.map(abs, [1], stage="once"))
    with pytest.raises(RequestError, match="cannot open stage 'once' twice"):
        farm.map(abs, [1], stage="once")


@pytest.mark.parametrize("slots", [0, -3])
def test_a_farm_has_at_least_one_slot(slots: int) -> None:
    with pytest.raises(RequestError, match=f"cannot start {slots} slots"):
        Farm(slots=slots)


def test_slots_default_to_the_cores_we_may_use() -> None:
    with Farm() as farm:
        farm.wait_for_slots()
        assert farm.statistics().slots == len(os.sched_getaffinity(0))


def test_a_closed_farm_says_so() -> None:
    with Farm(slots=1) as farm:
        pass
    with pytest.raises(FarmError, match="it is closed"):
        farm.map(abs, [1])
