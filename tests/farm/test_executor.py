"""A farm as a standard executor: what `concurrent.futures` promises, on slots."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Future,
    as_completed,
    wait,
)
from pathlib import Path
from typing import Any

import pytest

from hpcflow import BrokenFarmError, Farm, FarmError, RequestError, TaskError
from hpcflow.core.event import OUT_OF_TIME, SessionClosed, TaskFailed
from hpcflow.core.task import RemoteTraceback
from hpcflow.farm.dispatcher import MARGIN_S
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=2) as farm:
        farm.wait_for_slots()
        yield farm


@pytest.fixture(scope="module")
def single() -> Iterator[Farm]:
    with Farm(slots=1) as farm:
        farm.wait_for_slots()
        yield farm


class Gate:
    """Calls wait at it until it is opened; it counts those that came."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def open(self) -> None:
        (self.place / "open").touch()

    def pass_through(self, name: object) -> object:
        (self.place / f"came-{name}").touch()
        wait_for((self.place / "open").exists)
        return name

    @property
    def came(self) -> set[str]:
        return {path.name.removeprefix("came-") for path in self.place.glob("came-*")}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    place = tmp_path / "gate"
    place.mkdir()
    gate = Gate(place)
    yield gate
    gate.open()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def divide(a: float, b: float) -> float:
    return a / b


# -- submit


def test_a_call_has_its_arguments_and_its_value(farm: Farm) -> None:
    def show(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    with farm.executor() as executor:
        assert executor.submit(pow, 2, exp=5).result() == 32
        future = executor.submit(show, 1, self=2, fn=3, content=4)
        assert future.result() == ((1,), {"self": 2, "fn": 3, "content": 4})
        assert executor.submit(os.getpid).result() != os.getpid()


def test_lambdas_closures_and_methods_are_called(farm: Farm) -> None:
    factor = 3
    with farm.executor() as executor:
        assert executor.submit(lambda: factor * 2).result() == 6
        assert executor.submit("-".join, ["a", "b"]).result() == "a-b"


def test_what_is_changed_after_a_submission_does_not_count(single: Farm, gate: Gate) -> None:
    with single.executor() as executor:
        executor.submit(gate.pass_through, "first")
        numbers = [1, 2]
        future = executor.submit(sum, numbers)
        numbers.append(3)
        gate.open()
        assert future.result() == 3


def test_many_threads_submit_at_once(farm: Farm) -> None:
    futures: list[list[Future[int]]] = [[] for _ in range(8)]
    with farm.executor() as executor:

        def submit(mine: list[Future[int]]) -> None:
            mine.extend(executor.submit(abs, -n) for n in range(200))

        threads = [threading.Thread(target=submit, args=(mine,)) for mine in futures]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [[f.result() for f in mine] for mine in futures] == [list(range(200))] * 8


def test_calls_of_another_kind_than_the_last_ones_run_side_by_side(
    farm: Farm, tmp_path: Path
) -> None:
    def meet(me: str, other: str) -> str:
        (tmp_path / me).touch()
        wait_for((tmp_path / other).exists)
        return me

    with farm.executor() as executor:
        assert list(executor.map(abs, range(2000))) == list(range(2000))
        futures = [executor.submit(meet, "a", "b"), executor.submit(meet, "b", "a")]
        assert [future.result() for future in futures] == ["a", "b"]


# -- map


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_returns_values_in_the_order_of_its_inputs(farm: Farm, chunksize: int) -> None:
    with farm.executor() as executor:
        assert list(executor.map(pow, range(10), [2] * 8, chunksize=chunksize)) == [
            n**2 for n in range(8)
        ]
        assert list(executor.map(abs, [], chunksize=chunksize)) == []


def test_as_many_calls_as_asked_for_make_one_task(farm: Farm) -> None:
    before = farm.statistics().succeeded
    with farm.executor() as executor:
        assert list(executor.map(abs, range(10), chunksize=4)) == list(range(10))
    assert farm.statistics().succeeded == before + 3


@pytest.mark.parametrize("chunksize", [0, -1])
def test_tasks_without_calls_are_refused(farm: Farm, chunksize: int) -> None:
    with farm.executor() as executor, pytest.raises(RequestError, match="a task has at least 1"):
        executor.map(abs, [1], chunksize=chunksize)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_where_the_value_would_be(farm: Farm, chunksize: int) -> None:
    with farm.executor() as executor:
        values = executor.map(divide, [1, 1, 1, 1], [1, 2, 0, 4], chunksize=chunksize)
        assert list(itertools.islice(values, 2)) == [1.0, 0.5]
        with pytest.raises(ZeroDivisionError) as caught:
            next(values)
    assert "in divide" in str(caught.value.__cause__)


def test_map_waits_no_longer_than_it_may_and_cancels_the_rest(single: Farm, gate: Gate) -> None:
    with single.executor() as executor:
        values = executor.map(gate.pass_through, range(8), timeout=0.5)
        with pytest.raises(TimeoutError):
            list(values)
        gate.open()
    assert len(gate.came) < 8


# -- failures


def test_an_exception_is_itself_with_the_remote_traceback_as_its_cause(farm: Farm) -> None:
    with farm.executor() as executor:
        error = executor.submit(divide, 1, 0).exception()
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "return a / b" in str(error.__cause__)


@pytest.mark.parametrize(
    ("crash", "cause"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"\(signal\): .* SIGKILL"),
        (lambda: os._exit(3), r"\(exit\): .* exit code 3"),
        (threading.Lock, r"\(result\): .* cannot be pickled"),
    ],
    ids=["kill", "exit", "result"],
)
def test_a_call_that_raises_nothing_and_has_no_value_names_the_cause(
    farm: Farm, crash: Callable[[], Any], cause: str
) -> None:
    with farm.executor() as executor:
        bad, good = executor.submit(crash), executor.submit(abs, -1)
        with pytest.raises(TaskError, match=cause):
            bad.result()
        assert good.result() == executor.submit(abs, 1).result() == 1


def test_a_call_past_its_time_limit_names_it(farm: Farm) -> None:
    with farm.executor(time_limit_s=0.2) as executor:
        future = executor.submit(time.sleep, 600)
        with pytest.raises(TaskError, match=r"\(time limit\)"):
            future.result()


def test_a_call_is_tried_again_if_asked_for(farm: Farm, tmp_path: Path) -> None:
    def fail_once() -> str:
        if not (tmp_path / "tried").exists():
            (tmp_path / "tried").touch()
            raise ConnectionError
        return "done"

    with farm.executor(retries=1) as executor:
        assert executor.submit(fail_once).result() == "done"


def test_an_argument_that_cannot_travel_fails_its_future_alone(farm: Farm) -> None:
    with farm.executor() as executor:
        bad, good = executor.submit(id, threading.Lock()), executor.submit(abs, -1)
        with pytest.raises(RequestError, match=r"cannot send the call of id: .*lock") as caught:
            bad.result()
        assert isinstance(caught.value.__cause__, TypeError)
        assert good.result() == 1


class Homesick:
    """Its pickle cannot be opened in one process."""

    def __init__(self, process: int) -> None:
        self.process = process

    def __reduce__(self) -> Any:
        return refuse_to_be_in, (self.process,)


def refuse_to_be_in(process: int) -> str:
    if os.getpid() == process:
        raise LookupError("no such thing here")
    return "elsewhere"


def test_a_value_that_cannot_be_opened_here_fails_its_future_alone(farm: Farm) -> None:
    with farm.executor() as executor:
        bad, good = executor.submit(Homesick, os.getpid()), executor.submit(abs, -1)
        with pytest.raises(LookupError, match="no such thing here"):
            bad.result()
        assert good.result() == 1


# -- futures


def test_what_waits_can_be_cancelled_and_what_runs_cannot(single: Farm, gate: Gate) -> None:
    with single.executor() as executor:
        futures = [executor.submit(gate.pass_through, n) for n in range(6)]
        wait_for(lambda: gate.came)
        assert futures[0].running()
        assert not futures[0].cancel()
        assert futures[5].cancel()
        assert futures[5].cancelled()
        gate.open()
        done = wait(futures).done
    assert done == set(futures)
    assert [future.result() for future in futures[:5]] == list(range(5))
    assert gate.came == {"0", "1", "2", "3", "4"}
    with pytest.raises(CancelledError):
        futures[5].result()


def test_callbacks_are_called_even_after_one_that_raises(
    farm: Farm, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[Any] = []

    def raise_it(_: Future[int]) -> None:
        raise RuntimeError("of the callback")

    with farm.executor() as executor, caplog.at_level(logging.ERROR):
        first = executor.submit(abs, -1)
        first.add_done_callback(raise_it)
        first.add_done_callback(called.append)
        second = executor.submit(abs, -2)
        second.add_done_callback(called.append)
        wait_for(lambda: len(called) == 2)
    assert set(called) == {first, second}
    assert "of the callback" in caplog.text


def test_a_callback_may_submit_and_shut_down(farm: Farm) -> None:
    executor = farm.executor()
    followers: list[Future[int]] = []

    def go_on(done: Future[int]) -> None:
        followers.append(executor.submit(abs, -done.result() - 1))
        executor.shutdown()

    executor.submit(abs, -1).add_done_callback(go_on)
    wait_for(lambda: followers)
    assert followers[0].result() == 2


def test_futures_can_be_waited_for(farm: Farm, gate: Gate) -> None:
    with farm.executor() as executor:
        held: Future[Any] = executor.submit(gate.pass_through, "held")
        quick: Future[Any] = executor.submit(abs, -1)
        assert wait([held, quick], LIMIT_S, FIRST_COMPLETED).done == {quick}
        failing: Future[Any] = executor.submit(divide, 1, 0)
        assert failing in wait([held, failing], LIMIT_S, FIRST_EXCEPTION).done
        assert next(as_completed([held, quick])) is quick
        assert wait([held], timeout=0).not_done == {held}
        gate.open()
        assert set(as_completed([held, quick, held])) == {held, quick}


def test_a_value_is_kept_by_nothing_but_its_future(farm: Farm) -> None:
    class Large:
        pass

    executor = farm.executor()
    future = executor.submit(Large)
    trace = weakref.ref(future.result())
    del future
    gc.collect()
    wait_for(lambda: trace() is None)
    executor.shutdown()
    assert trace() is None


def test_an_event_loop_runs_functions_in_it(farm: Farm) -> None:
    async def ask() -> list[int]:
        loop = asyncio.get_running_loop()
        with farm.executor() as executor:
            calls = [loop.run_in_executor(executor, abs, -n) for n in range(3)]
            return await asyncio.gather(*calls)

    assert asyncio.run(ask()) == [0, 1, 2]


# -- the end


def test_after_a_shutdown_nothing_is_taken_and_what_was_goes_on(farm: Farm, gate: Gate) -> None:
    executor = farm.executor(stage="ended")
    futures = [executor.submit(gate.pass_through, n) for n in range(8)]
    executor.shutdown(wait=False)
    for error in (RuntimeError, FarmError):
        with pytest.raises(
            error,
            match=r"cannot submit to executor 'ended': it was shut down\. Open another with"
            r" farm\.executor\(\)\.",
        ):
            executor.submit(abs, 1)
    assert not any(future.done() for future in futures)
    gate.open()
    assert [future.result() for future in futures] == list(range(8))
    executor.shutdown()
    executor.shutdown(cancel_futures=True)


def test_a_shutdown_may_cancel_what_waits(single: Farm, gate: Gate) -> None:
    executor = single.executor()
    futures = [executor.submit(gate.pass_through, n) for n in range(12)]
    wait_for(lambda: gate.came)
    executor.shutdown(wait=False, cancel_futures=True)
    cancelled = [future for future in futures if future.cancelled()]
    assert futures[-1] in cancelled
    assert wait(cancelled, timeout=0).done == set(cancelled)
    gate.open()
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert len(gate.came) == 12 - len(cancelled)


def test_an_executor_that_is_dropped_does_what_was_submitted(farm: Farm, gate: Gate) -> None:
    futures = [farm.executor().submit(gate.pass_through, n) for n in range(2)]
    gc.collect()
    gate.open()
    assert [future.result() for future in futures] == [0, 1]
    names = [f"hpcflow-executor-{n}-futures" for n in range(100)]
    wait_for(lambda: not any(t.name in names for t in threading.enumerate()))


def test_a_forked_process_is_refused(farm: Farm) -> None:
    with farm.executor() as executor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on
            child = os.fork()
        if child == 0:
            try:
                executor.submit(abs, 1)
            except FarmError as error:
                os._exit("Submit from the process that opened the farm." in str(error))
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert executor.submit(abs, -1).result() == 1


def settled(futures: list[Future[Any]]) -> list[str]:
    """Say how each of the futures ended; all must have."""
    wait(futures, timeout=LIMIT_S)
    assert all(future.done() for future in futures)
    return ["cancelled" if f.cancelled() else type(f.exception()).__name__ for f in futures]


def test_closing_the_farm_cancels_what_waits_and_fails_what_runs(gate: Gate) -> None:
    with Farm(slots=1) as farm:
        executor = farm.executor()
        idle = farm.executor()
        futures = [executor.submit(gate.pass_through, n) for n in range(8)]
        wait_for(lambda: gate.came)
    ends = settled(futures)
    assert ends[0] == "BrokenFarmError"
    assert ends[-1] == "cancelled"
    assert set(ends) == {"BrokenFarmError", "cancelled"}
    with pytest.raises(BrokenExecutor, match=r"its farm was closed\. Wait for the futures"):
        futures[0].result()
    for each in (executor, idle):
        with pytest.raises(FarmError, match=r"its farm was closed\. Open another farm\."):
            each.submit(abs, 1)
        each.shutdown()


def test_leaving_the_farm_by_an_error_leaves_no_future_waiting(gate: Gate) -> None:
    futures: list[Future[Any]] = []

    def drive() -> None:
        with Farm(slots=1) as farm:
            executor = farm.executor()
            futures.extend(executor.submit(gate.pass_through, n) for n in range(8))
            wait_for(lambda: gate.came)
            raise LookupError

    with pytest.raises(LookupError):
        drive()
    assert set(settled(futures)) == {"BrokenFarmError"}


def test_an_interrupt_waits_for_no_call(gate: Gate) -> None:
    futures: list[Future[Any]] = []

    def drive() -> None:
        with Farm(slots=1) as farm, farm.executor() as executor:
            futures.extend(executor.submit(gate.pass_through, n) for n in range(8))
            wait_for(lambda: gate.came)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive()
    assert set(settled(futures)) == {"BrokenFarmError", "cancelled"}


def test_a_farm_that_breaks_fails_every_call(gate: Gate) -> None:
    with Farm(slots=1) as farm:
        executor = farm.executor()
        futures = [executor.submit(gate.pass_through, n) for n in range(8)]
        wait_for(lambda: gate.came)
        os.kill(farm.process_ids["scheduler"], signal.SIGKILL)
        assert set(settled(futures)) == {"BrokenFarmError"}
        for error in (BrokenExecutor, RuntimeError, FarmError):
            with pytest.raises(error, match="its farm broke, and says: cannot "):
                executor.submit(abs, 1)
        executor.shutdown()


def test_a_wall_time_that_is_over_ends_the_run_as_one_to_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out() -> None:
        with Farm(slots=1, run=tmp_path / "run") as farm, farm.executor() as executor:
            list(executor.map(time.sleep, [1.0] * 30))

    monkeypatch.setenv("HPCFLOW_ENDS_AT", str(int(time.time() + MARGIN_S + 6)))
    with pytest.raises(BrokenFarmError, match="its farm broke, and says: cannot start further"):
        run_out()
    *_, last = read_journal(RunDirectory.existing(tmp_path / "run").journal)
    assert isinstance(last, SessionClosed)
    assert last.reason == OUT_OF_TIME


EXIT = """
import time
from hpcflow import Farm

if __name__ == "__main__":
    farm = Farm(slots=1)
    farm.wait_for_slots()
    executor = farm.executor()
    futures = [executor.submit(time.sleep, 600) for _ in range(4)]
    {end}
"""


@pytest.mark.parametrize("end", ["pass", "executor.shutdown(wait=False)", "del executor"])
def test_an_interpreter_that_ends_waits_for_nothing(tmp_path: Path, end: str) -> None:
    (tmp_path / "driver.py").write_text(EXIT.format(end=end))
    answer = subprocess.run(
        [sys.executable, "driver.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert answer.returncode == 0
    assert "Traceback" not in answer.stderr


# -- in a run


def note(notes: Path, number: int) -> int:
    with notes.open("a") as file:
        file.write(f"{number}\n")
    if number == 13:
        raise ValueError("unlucky")
    return number * number


def test_a_resumed_run_calls_nothing_again_whatever_comes_first(tmp_path: Path) -> None:
    run, notes = tmp_path / "run", tmp_path / "notes"
    for numbers in ([1, 2, 2, 13, 3], [13, 2, 4, 1, 2, 2]):
        with Farm(slots=2, run=run) as farm, farm.executor() as executor:
            futures = [executor.submit(note, notes, number) for number in numbers]
            for number, future in zip(numbers, futures, strict=True):
                if number == 13:
                    assert isinstance(future.exception(), ValueError)
                else:
                    assert future.result() == number * number
        assert verify(RunDirectory.existing(run)).complete
    noted = sorted(map(int, notes.read_text().split()))
    assert noted == [1, 2, 2, 2, 3, 4, 13]
    verdict = verify(RunDirectory.existing(run))
    assert (verdict.offered, verdict.succeeded, verdict.failed) == (7, 6, 1)


def test_what_an_error_interrupted_runs_when_the_run_is_resumed(tmp_path: Path, gate: Gate) -> None:
    run = tmp_path / "run"

    def drive(*, fail: bool) -> list[Any]:
        with Farm(slots=1, run=run) as farm:
            executor = farm.executor()
            futures: list[Future[Any]] = [executor.submit(abs, -1)]
            futures.extend(executor.submit(gate.pass_through, n) for n in range(5))
            wait_for(lambda: gate.came)
            if fail:
                raise LookupError
            return [future.result() for future in futures]

    with pytest.raises(LookupError):
        drive(fail=True)
    assert not verify(RunDirectory.existing(run)).complete
    gate.open()
    assert drive(fail=False) == [1, 0, 1, 2, 3, 4]
    verdict = verify(RunDirectory.existing(run))
    assert (verdict.complete, verdict.offered, verdict.succeeded) == (True, 6, 6)


def test_a_call_that_raises_has_failed_for_the_journal(tmp_path: Path) -> None:
    with Farm(slots=1, run=tmp_path / "run") as farm, farm.executor() as executor:
        assert isinstance(executor.submit(divide, 1, 0).exception(), ZeroDivisionError)
    events = read_journal(RunDirectory.existing(tmp_path / "run").journal)
    (failed,) = [event for event in events if isinstance(event, TaskFailed)]
    assert failed.stage == "executor"
    assert failed.key.startswith("divide-")
    assert (failed.cause, failed.error.type) == ("exception", "ZeroDivisionError")


def test_what_a_closure_holds_tells_calls_apart(tmp_path: Path) -> None:
    def adder(number: int) -> Callable[[], int]:
        return lambda: number + 1

    for numbers in ([1, 2], [3, 2, 1]):
        with Farm(slots=1, run=tmp_path / "run") as farm, farm.executor() as executor:
            futures = [executor.submit(adder(number)) for number in numbers]
            assert [future.result() for future in futures] == [n + 1 for n in numbers]
    assert verify(RunDirectory.existing(tmp_path / "run")).offered == 3


def test_each_executor_is_a_stage_of_its_own(single: Farm) -> None:
    with single.executor(stage="polish") as first, single.executor() as second:
        assert first.submit(abs, -1).result() == second.submit(abs, -1).result()
        with pytest.raises(RequestError, match="cannot open stage 'polish' twice"):
            single.executor(stage="polish")
        with pytest.raises(RequestError, match="cannot run tasks in pool 'gpu'"):
            single.executor(pool="gpu")
