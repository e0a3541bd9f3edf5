"""What every transport owes the dispatcher, held against each of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow import preloaded
from hpcflow.core.stimulus import Leave
from hpcflow.core.task import Cause
from hpcflow.farm.transport import GaveUp, Joined
from tests.farm.transports import Bench, bench, successor

BOTH = pytest.mark.parametrize("name", ["lanes", "tasks"])


@pytest.fixture(scope="module", params=["lanes", "tasks"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    with bench(request.param, tmp_path_factory.mktemp("transport"), slots=2) as shared:
        yield shared


@pytest.fixture
def two(shared: Bench) -> Bench:
    """Give a transport with two slots that are up, on one worker."""
    shared.begin(slots=2)
    return shared


def _echo(value: object) -> object:
    return value


def _nap(value: float) -> float:
    time.sleep(value)
    return value


def _pid(_: object) -> int:
    return os.getpid()


def _hold(path: str) -> None:
    """Say that it is there, and stay."""
    Path(path).touch()
    time.sleep(600)


def _hold_until(path: str) -> str:
    """Say that it is there, and stay until it is told to go."""
    (Path(path) / "there").touch()
    while not (Path(path) / "go").exists():
        time.sleep(0.01)
    return "went"


def _fail_to_load() -> None:
    raise ValueError("no such model")


def test_every_chunk_is_answered_in_full_and_those_of_a_slot_in_their_order(two: Bench) -> None:
    call = two.call(_echo)
    sent = {slot: [two.send(slot, call, range(n)) for n in range(1, 40)] for slot in two.up}
    for chunks in sent.values():
        for size, chunk in enumerate(chunks, start=1):
            assert two.wait_for(chunk, size) == list(range(size))
    for slot, chunks in sent.items():
        answered = [each.chunk for each in two.returns(slot)]
        assert sorted(set(answered)) == chunks
        assert answered == sorted(answered)


def test_the_answers_of_a_long_chunk_come_in_the_order_of_its_tasks(two: Bench) -> None:
    naps = [0.001 * n for n in range(40)]
    chunk = two.send("w0.0", two.call(_nap), naps)
    assert two.wait_for(chunk, 40) == naps
    for stamp in ("started", "finished"):
        stamps = [at for each in two.returns("w0.0") for at in getattr(each, stamp)]
        assert stamps == sorted(stamps)


def test_a_crash_gives_back_what_was_done_before_and_names_its_task(two: Bench) -> None:
    def act(number: int) -> int:
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.03)
        return number

    chunk = two.send("w0.0", two.call(act), range(10))
    behind = two.send("w0.0", two.call(_echo), [1])
    leave = two.wait_for_leave("w0.0")
    assert two.values(chunk) == list(range(5))
    assert (leave.chunk, leave.index, leave.on_request) == (chunk, 5, False)
    assert leave.failure is not None
    assert leave.failure.cause is Cause.SIGNAL
    two.wait_for_slots(2)
    assert two.story("w0.0") == ["Return", "Leave", "Joined"]
    again = two.send("w0.0", two.call(_echo), [2])
    assert two.wait_for(again, 1) == [2]
    assert two.values(behind) == []


def test_a_time_limit_ends_the_task_that_overruns_it(two: Bench) -> None:
    def nap(length_s: float) -> float:
        time.sleep(length_s)
        return length_s

    chunk = two.send("w0.0", two.call(nap, limit_s=0.5), [0.0, 0.1, 600.0, 0.0])
    leave = two.wait_for_leave("w0.0")
    assert two.values(chunk) == [0.0, 0.1]
    assert (leave.chunk, leave.index) == (chunk, 2)
    assert leave.failure is not None
    assert leave.failure.cause is Cause.TIME_LIMIT


def test_a_kill_ends_the_runner_and_blames_nobody(two: Bench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    before = two.send("w0.0", two.call(_echo), [1, 2])
    chunk = two.send("w0.0", two.call(_hold), [str(note)])
    two.wait(note.exists)
    two.do(two.transport.kill, "w0.0", chunk)
    leave = two.wait_for_leave("w0.0")
    assert leave.on_request
    assert leave.failure is None
    assert two.values(before) == [1, 2]
    two.wait_for_slots(2)
    assert two.of("w0.1", Leave) == []


def test_a_kill_for_a_chunk_that_is_done_leaves_the_next_one_alone(
    two: Bench, tmp_path: Path
) -> None:
    done = two.send("w0.0", two.call(_echo), [1])
    two.wait_for(done, 1)
    runs = two.send("w0.0", two.call(_hold_until), [str(tmp_path)])
    two.wait((tmp_path / "there").exists)
    two.do(two.transport.kill, "w0.0", done)
    assert two.wait_for(two.send("w0.1", two.call(_echo), [2]), 1) == [2]
    (tmp_path / "go").touch()
    assert two.wait_for(runs, 1) == ["went"]
    assert two.of("w0.0", Leave) == []


def test_a_preload_is_there_for_the_chunks_that_are_sent_after_it(two: Bench) -> None:
    def use(_: object) -> int:
        model: bytes = preloaded("model")
        return len(model)

    size = 20 << 20
    two.preload("model", bytes, bytes(size))  # takes longer than the chunks
    chunks = [two.send(slot, two.call(use), [0]) for slot in two.up]
    assert [two.wait_for(chunk, 1) for chunk in chunks] == [[size], [size]]


def test_a_runner_that_starts_again_has_its_preloads(two: Bench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    two.preload("number", int, 7)
    chunk = two.send("w0.0", two.call(_hold), [str(note)])
    two.wait(note.exists)
    two.do(two.transport.kill, "w0.0", chunk)
    two.wait_for_leave("w0.0")
    two.wait_for_slots(2)
    again = two.send("w0.0", two.call(lambda _: preloaded("number")), [0])
    assert two.wait_for(again, 1) == [7]


@BOTH
def test_a_slot_whose_preload_fails_is_given_up_with_the_reason(name: str, tmp_path: Path) -> None:
    with bench(name, tmp_path) as one:
        one.wait_for_slots(1)
        one.preload("model", _fail_to_load)
        (gone,) = one.wait(lambda: one.of("w0.0", GaveUp))
        assert isinstance(gone, GaveUp)
        assert "no such model" in gone.reason
        assert one.story("w0.0") == ["Joined", "Leave", "GaveUp"]


def test_a_function_that_was_forgotten_makes_way_for_others(two: Bench) -> None:
    for number in range(5):

        def act(value: str, number: int = number) -> str:
            return f"{value}{number}"

        call = two.call(act)
        chunk = two.send("w0.0", call, ["x"])
        assert two.wait_for(chunk, 1) == [f"x{number}"]
        two.do(two.transport.forget, call.number)


def test_large_inputs_and_values_travel(two: Bench) -> None:
    chunk = two.send("w0.0", two.call(len), [bytes(12 << 20)])
    assert two.wait_for(chunk, 1) == [12 << 20]
    chunk = two.send("w0.1", two.call(bytes), [12 << 20])
    (answer,) = two.wait(lambda: two.returns("w0.1"))
    assert len(answer.stored[0]) > 12 << 20


@BOTH
def test_a_worker_that_is_killed_takes_its_slots_along_and_no_others(
    name: str, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    with bench(name, tmp_path, slots=4, workers=2) as four:
        four.wait_for_slots(4)
        echo, pid = four.call(_echo), four.call(_pid)
        four.send("w0.0", four.call(_hold), [str(note)])
        four.wait(note.exists)
        (before,) = four.wait_for(four.send("w1.0", pid, [0]), 1)
        os.kill(four.processes.pids["w0"], signal.SIGKILL)
        leaves = [four.wait_for_leave(slot) for slot in ("w0.0", "w0.1")]
        assert [(leave.chunk, leave.failure) for leave in leaves] == [(None, None)] * 2
        (after,) = four.wait_for(four.send("w1.0", pid, [0]), 1)
        assert before == after
        four.wait_for_slots(4)
        assert four.wait_for(four.send("w0.0", echo, [1]), 1) == [1]
        assert four.of("w1.0", Leave) == four.of("w1.1", Leave) == []


@BOTH
def test_what_is_sent_to_a_slot_that_has_just_gone_is_passed_over(
    name: str, tmp_path: Path
) -> None:
    with bench(name, tmp_path) as one:
        one.wait_for_slots(1)
        echo = one.call(_echo)
        os.kill(one.processes.pids["w0"], signal.SIGKILL)
        one.wait_for_leave("w0.0")
        lost = [one.send("w0.0", echo, [n]) for n in range(20)]
        one.wait_for_slots(1)
        assert one.wait_for(one.send("w0.0", echo, ["later"]), 1) == ["later"]
        assert [chunk for chunk in lost if one.values(chunk)] == []


@BOTH
def test_chunks_find_the_workers_of_every_shard(name: str, tmp_path: Path) -> None:
    with bench(name, tmp_path, slots=2, workers=2, shards=2) as sharded:
        slots = sharded.wait_for_slots(2)
        assert slots == ["w0.0", "w1.0"]
        echo = sharded.call(_echo)
        chunks = [sharded.send(slot, echo, [slot]) for slot in slots for _ in range(10)]
        values = [sharded.wait_for(chunk, 1) for chunk in chunks]
        assert values == [["w0.0"]] * 10 + [["w1.0"]] * 10


@BOTH
def test_who_comes_after_another_gets_the_slots_and_answers_of_its_own(
    name: str, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    with bench(name, tmp_path) as first:
        first.wait_for_slots(1)
        first.send("w0.0", first.call(_hold), [str(note)])
        first.send("w0.0", first.call(_echo), ["first"])
        first.wait(note.exists)
        with successor(first) as second:  # it counts chunks and functions from 1 as well
            second.wait_for_slots(1)
            chunks = [second.send("w0.0", second.call(_echo), [f"second {n}"]) for n in range(3)]
            values = [second.wait_for(chunk, 1) for chunk in chunks]
    assert values == [["second 0"], ["second 1"], ["second 2"]]


@BOTH
def test_closing_lets_go_of_what_runs(name: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with bench(name, tmp_path) as one:
        one.wait_for_slots(1)
        one.send("w0.0", one.call(_hold), [str(note)])
        one.send("w0.0", one.call(_echo), [1])
        one.wait(note.exists)
    assert [type(each) for each in one.reports] == [Joined, Leave]
