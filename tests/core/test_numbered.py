"""Tasks in columns say what tasks say one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.core.numbered import Numbered, cost_of, created_of, keys_of
from tests.core.bench import Bench, failure, settled, verdicts

values = st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.none()))


def numbered(count: int, *, first: int = 0) -> Numbered:
    return Numbered(
        "s", first, values=list(range(count)), created=[float(first + n) for n in range(count)]
    )


@given(values, st.integers(0, 10**6), st.booleans())
def test_columns_and_tasks_say_the_same(
    inputs: list[float | None], first: int, spelled_out: bool
) -> None:
    tasks = Numbered("s", first, values=inputs, created=[float(n) for n in range(len(inputs))])
    if spelled_out:
        assert len(tasks.keys) == len(inputs)
    one_by_one = list(tasks)
    assert [task.key for task in one_by_one] == keys_of(tasks) == keys_of(one_by_one)
    assert created_of(tasks) == created_of(one_by_one)
    assert cost_of(tasks) == cost_of(one_by_one) == len(inputs)
    assert [task.position for task in one_by_one] == list(range(first, first + len(inputs)))
    assert all(a.number is b for a, b in zip(one_by_one, inputs, strict=True))
    assert not any(task.payload for task in one_by_one)


@given(st.integers(0, 9), st.integers(0, 9), st.booleans(), st.booleans())
def test_what_was_cut_and_joined_is_as_it_was(
    start: int, stop: int, before: bool, after: bool
) -> None:
    tasks = numbered(8, first=3)
    if before:
        assert tasks.keys[0] == "3-0"
    head, tail = tasks[:stop], tasks[stop:]
    assert head.precedes(tail)
    if after:
        assert head.keys == [f"{n + 3}-{n}" for n in range(min(stop, 8))]
    both = head + tail
    assert both.keys == tasks.keys
    assert both[start:].keys == tasks.keys[start:]
    assert both.created == tasks.created


def test_a_task_behind_the_end_is_refused() -> None:
    tasks = numbered(2, first=7)
    assert (tasks[-1].key, tasks[-1].position) == ("8-1", 8)
    with pytest.raises(IndexError):
        tasks[2]


def test_numbers_that_do_not_follow_on_go_out_in_their_order() -> None:
    bench = Bench("a")
    bench.stage()
    bench.do_offer(numbered(2))
    bench.do_offer(numbered(2, first=2))
    bench.do_offer(numbered(2, first=8))
    bench.offer("named")
    seen: list[str] = []
    while bench.held["a"]:
        seen += settled(bench.back("a", each_s=1.0))
    assert seen == ["0-0", "1-1", "2-0", "3-1", "8-0", "9-1", "named"]


def test_a_number_whose_attempt_failed_is_tried_again_alone() -> None:
    bench = Bench("a")
    bench.stage(retries=1)
    bench.learn(1e-6)
    bench.do_offer(numbered(3))
    done = bench.back("a", failed={1: failure()})
    assert settled(done) == ["0-0", "2-2"]
    assert [(key, attempt) for key, attempt, _ in verdicts(done)] == [("1-1", 1)]
    assert bench.on("a") == [["1-1"]]
    assert settled(bench.back("a")) == ["1-1"]
