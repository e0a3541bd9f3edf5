"""Which task goes first, how many are out, and what happens at the end of a stage."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcflow import Farm, RequestError
from hpcflow.core.event import ChunkSent, SessionClosed
from hpcflow.core.task import AnyOutcome
from hpcflow.errors import WallTimeError
from hpcflow.farm.dispatcher import MARGIN_S
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=1) as farm:
        farm.wait_for_slots()
        yield farm


def _pause(_: object) -> None:
    time.sleep(0.15)  # so long that tasks travel alone


def _order(farm: Farm, tasks: list[int], **options: Any) -> list[int]:
    """Return the tasks in the order in which one slot ran them; the first is out at once."""
    outcomes = farm.map(_pause, tasks, key=str, **options)
    return [int(o.key) for o in sorted(outcomes, key=lambda o: o.started)]


def test_tasks_go_as_given_unless_something_else_is_said(farm: Farm) -> None:
    assert _order(farm, [3, 1, 4, 5]) == [3, 1, 4, 5]


def test_the_longest_go_first_by_a_function_or_by_numbers(farm: Farm) -> None:
    by_function = _order(farm, [3, 1, 4, 5, 2], order="longest-first", cost=float)
    by_numbers = _order(farm, [3, 1, 4, 5, 2], order="longest-first", cost=[3, 1, 4, 5, 2])
    assert by_function[1:] == [n for n in (5, 4, 3, 2, 1) if n != by_function[0]]
    assert by_numbers[1:] == [n for n in (5, 4, 3, 2, 1) if n != by_numbers[0]]


def test_priorities_go_before_costs(farm: Farm) -> None:
    order = _order(
        farm,
        [10, 11, 20, 21, 30],
        order="longest-first",
        cost=float,
        priority=lambda n: 1 if n < 20 else 0,
    )
    assert order[1:] == [n for n in (11, 10, 30, 21, 20) if n != order[0]]


def test_costs_alone_do_not_change_the_order(farm: Farm) -> None:
    assert _order(farm, [3, 1, 4, 5], cost=float) == [3, 1, 4, 5]


def test_what_comes_of_outcomes_goes_before_what_they_come_of(farm: Farm) -> None:
    relaxed, started = farm.map(_pause, range(5), stage="relax", key=str), {}
    with farm.stream(_pause, stage="score", after="relax", key=str) as scores:
        for outcome in relaxed:
            started[f"relax {outcome.key}"] = outcome.started
            scores.submit(int(outcome.key))
        started |= {f"score {outcome.key}": outcome.started for outcome in scores}
    order = sorted(started, key=lambda name: started[name])
    for number in range(3):  # the next one is out by the time that an outcome is back
        assert order.index(f"score {number}") < order.index(f"relax {number + 2}")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cost": [1, -2]}, "cannot give task 1 the cost -2"),
        ({"cost": lambda _: math.nan}, "cannot give task 0 the cost nan"),
        ({"cost": ["long", 1]}, "cannot give task 0 the cost 'long'"),
        ({"cost": [1]}, "cannot weigh 2 tasks by 1 numbers"),
        ({"priority": lambda _: "high"}, "cannot give task 0 the priority 'high'"),
        ({"priority": [math.inf, 1]}, "cannot give task 0 the priority inf"),
        ({"order": "shortest"}, "cannot order tasks 'shortest'"),
        ({"order": "given", "priority": [1, 2]}, "cannot order tasks as given and by priority"),
        ({"order": "longest-first"}, "cannot run the longest tasks first"),
        ({"after": "nothing"}, "cannot open a stage after 'nothing'"),
        ({"after": 3}, "cannot open a stage after 3: it is the name of a stage"),
        ({"after": [None]}, "cannot open a stage after .None.: it is the name of a stage"),
        ({"cost": 3}, "cannot weigh tasks by 3: it is a function"),
        ({"priority": iter([1, 2])}, "cannot weigh tasks by <list_iterator"),
    ],
)
def test_what_is_no_order_is_refused_at_once(farm: Farm, options: Any, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        farm.map(_pause, [1, 2], **options)


def test_a_cost_that_turns_out_wrong_ends_a_lazy_map(farm: Farm) -> None:
    with pytest.raises(RequestError, match="cannot give task 2 the cost -1"):
        list(farm.map(abs, iter([1, 1, -1]), cost=float))


def test_a_task_of_a_stream_has_its_own_priority(farm: Farm) -> None:
    with farm.stream(_pause, order="priority", key=str) as stream:
        for number, priority in ((1, 0), (2, 1), (3, 5), (4, 3)):
            stream.submit(number, priority=priority)
        order = [int(o.key) for o in sorted(stream, key=lambda o: o.started)]
    assert order[1:] == [n for n in (3, 4, 2, 1) if n != order[0]]


def test_a_stream_that_is_not_ordered_takes_no_priority(farm: Farm) -> None:
    with (
        farm.stream(_pause) as stream,
        pytest.raises(RequestError, match="cannot weigh a task of stage"),
    ):
        stream.submit(1, priority=2)


def test_a_stream_holds_its_submitters_back(farm: Farm) -> None:
    seen: list[int] = []
    with farm.stream(_pause, most_in_flight=2) as stream:
        thread = threading.Thread(target=lambda: stream.submit_all(range(8)))
        thread.start()
        while thread.is_alive():
            seen.append(farm.statistics().in_flight)
            time.sleep(0.01)
        assert len(stream.drain()) == 8
        assert stream.peak_in_flight <= 8
    assert max(seen) == 2


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_a_limit_that_holds_everything_back_is_refused(farm: Farm, limit: Any) -> None:
    with pytest.raises(RequestError, match="cannot hold a stream to"):
        farm.stream(_pause, most_in_flight=limit)


@pytest.mark.parametrize("total", [-1, 2.5, "many"])
def test_what_is_no_number_of_tasks_is_refused(farm: Farm, total: Any) -> None:
    with pytest.raises(RequestError, match="cannot expect"):
        farm.stream(_pause, total=total)


def test_threads_may_submit_at_the_same_time(tmp_path: Path) -> None:
    def submit(numbers: range) -> None:
        for number in numbers:
            stream.submit(number, key=str(number))

    with Farm(slots=2, run=tmp_path / "run") as farm, farm.stream(abs) as stream:
        threads = [threading.Thread(target=submit, args=(range(k, 2000, 4),)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {o.key for o in stream.drain()} == {str(n) for n in range(2000)}
        assert stream.peak_in_flight == 2000
    verdict = verify(RunDirectory(tmp_path / "run"))
    assert verdict.complete
    assert verdict.succeeded == 2000


# -- the end of a stage


def _straggle(task: tuple[str, int]) -> int:
    """Hang in the first attempt at task 0 for as long as the gate is not there."""
    directory, number = task
    if number == 0:
        try:
            (Path(directory) / "first").touch(exist_ok=False)
        except FileExistsError:
            return number
        time.sleep(600)
    time.sleep(0.2)
    return number


def test_an_idle_slot_runs_a_straggler_once_more(tmp_path: Path) -> None:
    with Farm(slots=2, run=tmp_path / "run") as farm:
        farm.wait_for_slots()
        tasks = [(str(tmp_path), number) for number in range(8)]
        outcomes = list(farm.map(_straggle, tasks, key=lambda t: str(t[1]), speculate=True))
        assert sorted(o.result() for o in outcomes) == list(range(8))
        farm.wait_for_slots(2)  # the runner of the attempt that lost has been replaced
        assert [o.result() for o in farm.map(abs, [-1, -2])] in ([1, 2], [2, 1])
    events = list(read_journal(RunDirectory(tmp_path / "run").journal))
    sent = [e.slot for e in events if isinstance(e, ChunkSent) and e.keys == ["0"]]
    assert len(sent) == len(set(sent)) == 2
    assert verify(RunDirectory(tmp_path / "run")).complete


def _second(number: int) -> int:
    time.sleep(1.0)
    return number


def test_no_task_starts_that_would_not_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[AnyOutcome] = []

    def run_out() -> None:
        with Farm(slots=2, run=tmp_path / "run") as farm:
            for outcome in farm.map(_second, range(12)):
                done.append(outcome)  # noqa: PERF402  # they count although it ends with an error

    monkeypatch.setenv("HPCFLOW_ENDS_AT", str(int(time.time() + MARGIN_S + 6)))
    with pytest.raises(WallTimeError, match="cannot start further tasks of stage '_second'"):
        run_out()
    assert 2 <= len(done) < 12
    *_, last = read_journal(RunDirectory(tmp_path / "run").journal)
    assert isinstance(last, SessionClosed)
    assert last.reason == "out of wall time"
    monkeypatch.delenv("HPCFLOW_ENDS_AT")
    with Farm(slots=2, run=tmp_path / "run") as farm:
        collected = list(farm.map(_second, range(12)))
    assert sorted(o.result() for o in collected) == list(range(12))
    assert sum(o.replayed for o in collected) == len(done)
