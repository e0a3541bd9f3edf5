"""What user code can do to its process, and what it costs: its own task."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpcflow import Cause, Failed, Farm, Lost, Succeeded, TaskError
from hpcflow.core.task import AnyOutcome
from hpcflow.farm.packing import LARGEST_ERROR
from hpcflow.farm.transport import TransportName


@pytest.fixture(scope="module", params=["lanes", "tasks"])
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    with Farm(slots=2, transport=request.param) as farm:
        yield farm


def run_among_neighbours(farm: Farm, poison: Any, **options: Any) -> Failed:
    """Run one bad task among good ones; return its outcome after checking the others."""

    def act(number: int) -> int:
        if number == 7:
            return poison()  # type: ignore[no-any-return]
        return number * number

    outcomes: list[AnyOutcome] = list(farm.map(act, range(20), key=str, **options))
    by_key = {outcome.key: outcome for outcome in outcomes}
    assert len(outcomes) == len(by_key) == 20
    bad = by_key.pop("7")
    assert all(isinstance(o, Succeeded) and o.value == int(o.key) ** 2 for o in by_key.values())
    assert all(outcome.attempt == 1 for outcome in by_key.values())
    assert isinstance(bad, Failed)
    return bad


def test_a_segfault_costs_only_its_own_task(farm: Farm) -> None:
    bad = run_among_neighbours(farm, lambda: ctypes.string_at(0))
    assert bad.cause is Cause.SIGNAL
    assert "SIGSEGV" in bad.error.message
    assert "in string_at" in bad.error.traceback


def test_a_task_that_exits_costs_only_itself(farm: Farm) -> None:
    bad = run_among_neighbours(farm, lambda: os._exit(3))
    assert bad.cause is Cause.EXIT
    assert "exit code 3" in bad.error.message


def test_a_task_that_is_killed_says_by_what(farm: Farm) -> None:
    bad = run_among_neighbours(farm, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert bad.cause is Cause.SIGNAL
    assert "SIGKILL" in bad.error.message


def test_an_unpicklable_result_is_a_failure_of_its_task(farm: Farm) -> None:
    bad = run_among_neighbours(farm, threading.Lock)
    assert bad.cause is Cause.RESULT
    assert "lock" in bad.error.message


def test_an_exception_comes_back_as_itself_with_where_it_was_raised(farm: Farm) -> None:
    def open_nothing() -> None:
        raise FileNotFoundError(2, "No such file", "topology.pdb")

    error = run_among_neighbours(farm, open_nothing).exception()
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (2, "topology.pdb")
    assert "in open_nothing" in str(error.__cause__)


def test_an_exception_that_is_large_or_cannot_be_pickled_comes_back_as_text(farm: Farm) -> None:
    def raise_it(number: int) -> None:
        raise ValueError("too large", bytes(LARGEST_ERROR) if number else threading.Lock())

    for outcome in farm.map(raise_it, range(2)):
        assert isinstance(outcome, Failed)
        assert outcome.cause is Cause.EXCEPTION
        assert outcome.error.pickled == b""
        assert outcome.error.type == "ValueError"
        assert isinstance(outcome.exception(), TaskError)


def test_an_exception_that_the_driver_cannot_import_comes_back_as_text(farm: Farm) -> None:
    def raise_strange() -> None:
        namespace: dict[str, Any] = {"__module__": "only_in_the_runner"}
        raise type("StrangeError", (Exception,), namespace)("as text")

    bad = run_among_neighbours(farm, raise_strange)
    assert bad.cause is Cause.EXCEPTION
    assert bad.error.type == "only_in_the_runner.StrangeError"
    assert bad.error.message == "as text"
    assert "raise_strange" in bad.error.traceback


def test_an_exception_whose_message_raises_is_still_told(farm: Farm) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def raise_mute() -> None:
        raise MuteError

    bad = run_among_neighbours(farm, raise_mute)
    assert bad.cause is Cause.EXCEPTION
    assert bad.error.type.endswith("MuteError")
    assert "RuntimeError" in bad.error.message


def test_sys_exit_in_a_task_is_its_failure_and_not_the_runners(farm: Farm) -> None:
    bad = run_among_neighbours(farm, lambda: sys.exit("no more"))
    assert bad.cause is Cause.EXCEPTION
    assert bad.error.type == "SystemExit"


def test_a_task_past_its_time_limit_is_killed_even_in_native_code(farm: Farm) -> None:
    def hang_with_the_gil() -> None:
        ctypes.PyDLL(None).sleep(600)

    began = time.monotonic()
    bad = run_among_neighbours(farm, hang_with_the_gil, time_limit_s=0.5)
    assert bad.cause is Cause.TIME_LIMIT
    assert "0.5 s" in bad.error.message
    assert time.monotonic() - began < 60


def test_what_a_killed_task_had_started_is_killed_with_it(farm: Farm, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def start_and_hang() -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        note.write_text(str(child.pid))
        child.wait()

    run_among_neighbours(farm, start_and_hang, time_limit_s=1.0)
    pid = int(note.read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the task's child outlived it"
        time.sleep(0.02)


def test_a_failed_attempt_is_tried_again_as_often_as_asked(farm: Farm, tmp_path: Path) -> None:
    def fail_twice(name: str) -> int:
        with (tmp_path / name).open("a") as file:
            file.write("x")
        attempts = (tmp_path / name).stat().st_size
        if attempts < 3:
            os._exit(1)
        return attempts

    outcomes = {o.key: o for o in farm.map(fail_twice, ["a", "b"], key=str, retries=2)}
    assert {key: (o.attempt, o.result()) for key, o in outcomes.items()} == {
        "a": (3, 3),
        "b": (3, 3),
    }


def test_retries_run_out_in_a_failure(farm: Farm) -> None:
    def fail(_: int) -> None:
        raise ValueError("never")

    (outcome,) = farm.map(fail, [0], retries=2)
    assert isinstance(outcome, Failed)
    assert outcome.attempt == 3


def test_a_task_whose_module_the_runner_lacks_fails_by_its_input(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_in_the_driver.py").write_text("class Box:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_in_the_driver  # type: ignore[import-not-found]

    (outcome,) = farm.map(type, [only_in_the_driver.Box()])
    assert isinstance(outcome, Failed)
    assert outcome.cause is Cause.INPUT
    assert "only_in_the_driver" in outcome.error.message


def test_a_killed_worker_is_replaced_and_loses_no_task() -> None:
    with Farm(slots=2) as farm:
        farm.wait_for_slots()
        outcomes = farm.map(slow_square, range(40))
        first = next(outcomes)
        os.kill(farm.process_ids["w0"], signal.SIGKILL)
        values = [first.result(), *(outcome.result() for outcome in outcomes)]
        assert sorted(values) == [n * n for n in range(40)]
        assert farm.statistics().retried <= 2


def slow_square(number: int) -> int:
    time.sleep(0.02)
    return number * number


@pytest.mark.parametrize("transport", ["lanes", "tasks"])
def test_a_task_that_takes_its_worker_down_every_time_is_lost(transport: TransportName) -> None:
    def kill_the_worker(number: int) -> int:
        if number == 3:
            os.kill(psutil.Process().ppid(), signal.SIGKILL)
            time.sleep(600)
        return number

    with Farm(slots=1, transport=transport) as farm:
        outcomes = {o.key: o for o in farm.map(kill_the_worker, range(6), key=str)}
    lost = outcomes.pop("3")
    assert isinstance(lost, Lost)
    assert lost.cause is Cause.SLOT_LOST
    assert lost.attempt == 4
    assert sorted(o.result() for o in outcomes.values()) == [0, 1, 2, 4, 5]
