"""A runner as a process of its own, fed and read by hand as its worker does it."""

from __future__ import annotations

import math
import os
import pickle
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest

from hpcflow import current_task, preloaded
from hpcflow.core.task import Cause
from hpcflow.errors import FarmError
from hpcflow.farm.packing import FLUSH_S
from hpcflow.farm.versions import own_versions
from hpcflow.farm.wire import (
    Down,
    Progress,
    Result,
    Setup,
    Up,
    Work,
    read_frame,
    write_frame,
)

WITHIN_S = 60.0
"""Longest wait for a frame [s]."""
ODD = [math.nan, math.inf, -math.inf, 2**70, -(2**63) - 1, 2**64, 10**400]
"""Numbers that JSON has no word for."""


class Fed:
    """A runner, and this end of its stream."""

    def __init__(self, directory: Path) -> None:
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(WITHIN_S)
        page, trace = os.memfd_create("progress"), os.memfd_create("trace")
        os.ftruncate(page, 4096)
        self.progress = Progress(page)
        descriptors = (theirs.fileno(), page, trace)
        ids = map(str, (os.getpid(), *descriptors))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hpcflow.farm.runner", *ids, "s0", "cpu", ""],
            pass_fds=descriptors,
        )
        for descriptor in (page, trace):
            os.close(descriptor)
        theirs.close()
        self._sent = 0
        setup = Setup(
            versions=own_versions(),
            sys_path=sys.path,
            directory=str(directory),
            run_seed=1,
            run_directory=str(directory),
            scratch=str(directory),
            ends_at=None,
            logs=None,
        )
        write_frame(self.connection, Down.SETUP, msgspec.msgpack.encode(setup))
        assert self.receive() == (Up.READY, b"")

    def close(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self.progress.close()

    def receive(self) -> tuple[int, bytes]:
        """Return the next frame."""
        frame = read_frame(self.connection)
        assert frame is not None, "the runner has ended"
        return frame

    def send(
        self, function: Callable[[Any], Any], inputs: Sequence[Any], *, plain: bool = True
    ) -> int:
        """Hand it a function and a chunk; return the chunk's number."""
        self._sent += 1
        blob = cloudpickle.dumps(function)
        write_frame(self.connection, Down.FUNCTION, pickle.dumps((self._sent, blob)))
        work = Work(
            chunk=self._sent,
            stage="stage",
            function=self._sent,
            attempt=2,
            limit_s=None,
            keys=msgspec.Raw(msgspec.msgpack.encode([f"k{n}" for n in range(len(inputs))])),
            values=pickle.dumps(list(inputs)) if plain else b"",
            inputs=[] if plain else [pickle.dumps(each) for each in inputs],
        )
        write_frame(self.connection, Down.CHUNK, msgspec.msgpack.encode(work))
        return self._sent

    def answers(self) -> Iterator[list[Any]]:
        """Yield what the tasks of a chunk have come to, answer by answer."""
        kind, end = Up.RESULT, 0.0
        while kind is Up.RESULT:
            number, body = self.receive()
            kind, result = Up(number), msgspec.msgpack.decode(body, type=Result)
            laps = array("d", result.laps).tolist()
            assert len(laps) == len(result.values) + 1
            assert laps == sorted(laps)
            assert laps[0] > end - 1e-3, "one clock may have been set meanwhile"
            end = laps[-1]
            yield list(_opened(result))

    def run(self, function: Callable[[Any], Any], inputs: Sequence[Any], **how: Any) -> list[Any]:
        """Run a chunk; return what its tasks have come to."""
        self.send(function, inputs, **how)
        return [each for answer in self.answers() for each in answer]


def _opened(result: Result) -> Iterator[Any]:
    """Yield values as the driver gets them, and wrecks."""
    for index, value in enumerate(result.values):
        if index in result.pickles:
            yield pickle.loads(result.pickles[index])
        else:
            yield result.wrecks.get(index, result.payloads.get(index, value))


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    fed = Fed(tmp_path_factory.mktemp("runner"))
    yield fed
    fed.close()


def _same(value: Any) -> Any:
    return value


def _hold_until(path: str) -> Callable[[int], int]:
    """Return a function that stays in its task 900 until there is a file."""

    def hold(number: int) -> int:
        while number == 900 and not os.path.exists(path):  # noqa: PTH110  # it is sent by value
            time.sleep(0.01)
        return number

    return hold


@pytest.mark.parametrize("plain", [True, False])
def test_inputs_that_travel_in_one_pickle_arrive_as_those_of_their_own(
    fed: Fed, plain: bool
) -> None:
    inputs = [0, -1, 2**63, 2**80, 0.5, math.inf, True, False, None]
    values = fed.run(_same, inputs, plain=plain)
    assert values == inputs
    assert list(map(type, values)) == list(map(type, inputs))


@pytest.mark.parametrize("odd", ODD)
def test_a_number_that_json_lacks_among_plain_ones_comes_back(fed: Fed, odd: float) -> None:
    for neighbours in ([1, 2, 3], [0.5, 1.5, 2.5], [None, 0, 0.0], [True, 2, 0.5], ["a", 1, None]):
        values = [*neighbours, odd, *neighbours, odd]
        returned = fed.run(_same, values, plain=False)
        assert list(map(repr, returned)) == list(map(repr, values))


def test_odd_numbers_come_back_in_answers_sent_in_parts(fed: Fed) -> None:
    def nap(number: int) -> float:
        time.sleep(0.002)
        return math.nan if number % 3 == 0 else 2**70 if number % 3 == 1 else number

    fed.send(nap, range(60))
    parts = list(fed.answers())
    assert len(parts) > 1
    expected = [[math.nan, 2**70, number][number % 3] for number in range(60)]
    assert [repr(each) for part in parts for each in part] == list(map(repr, expected))


def test_an_odd_number_too_long_for_the_journal_goes_to_a_file_named_by_its_task(fed: Fed) -> None:
    first, stored, last = fed.run(lambda n: n << (300_000 * (n == 2)), [1, 2, 3])
    assert (first, last) == (1, 3)
    assert stored.file.startswith("payloads/stage/k1.2.")


def test_a_value_is_what_it_was_when_its_task_returned_it(fed: Fed) -> None:
    seen: list[int] = []

    def add(number: int) -> list[int]:
        seen.append(number)
        return seen

    assert fed.run(add, range(4)) == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_what_ended_leaves_while_a_task_of_its_chunk_goes_on(fed: Fed, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    fed.send(_hold_until(str(gate)), range(1000))
    answers = fed.answers()
    early: list[int] = []
    while len(early) < 900:  # the gate is shut: it would wait for ever, were one of them held back
        early += next(answers)
    assert early == list(range(900))
    gate.touch()
    assert [each for answer in answers for each in answer] == list(range(900, 1000))


def test_what_ended_late_leaves_at_once_though_the_next_task_holds_the_interpreter(
    fed: Fed, tmp_path: Path
) -> None:
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)

    def nap_then_hold(number: int) -> int:
        import ctypes

        time.sleep(3 * FLUSH_S)
        if number:
            ctypes.PyDLL(None).open(gate.encode(), os.O_RDONLY)  # until it is opened to write
        return number

    fed.send(nap_then_hold, range(2))
    answers = fed.answers()
    assert next(answers) == [0]
    with open(gate, "wb"):  # noqa: PTH123
        assert [each for answer in answers for each in answer] == [1]


def test_a_chunk_of_one_is_one_answer_however_long_it_takes(fed: Fed) -> None:
    fed.send(time.sleep, [3 * FLUSH_S])
    assert list(fed.answers()) == [[None]]


def test_each_task_knows_its_own_name_and_start(fed: Fed) -> None:
    def who(number: int) -> list[Any] | None:
        if number % 2:
            return None  # only some ask
        time.sleep(0.001)
        task = current_task()
        return [task.key, task.stage, task.attempt, task.started < time.monotonic() - 0.001]

    expected = [None if n % 2 else [f"k{n}", "stage", 2, True] for n in range(50)]
    assert fed.run(who, range(50)) == expected


def test_a_task_that_was_forked_knows_its_name_when_the_next_one_runs(
    fed: Fed, tmp_path: Path
) -> None:
    place = str(tmp_path)

    def fork(number: int) -> str | None:
        gate, note = f"{place}/gate", f"{place}/note"
        if number == 0 and os.fork() == 0:
            while not os.path.exists(gate):  # noqa: PTH110
                time.sleep(0.005)
            with open(f"{note}.part", "w") as file:  # noqa: PTH123
                file.write(current_task().key)
            os.rename(f"{note}.part", note)  # noqa: PTH104
            os._exit(0)
        if number == 1:
            open(gate, "w").close()  # noqa: PTH123
            while not os.path.exists(note):  # noqa: PTH110
                time.sleep(0.005)
            with open(note) as file:  # noqa: PTH123
                return file.read()
        return None

    assert fed.run(fork, range(3)) == [None, "k0", None]


def test_nothing_runs_once_a_chunk_is_answered(fed: Fed) -> None:
    def outside() -> str:
        try:
            return current_task().key
        except FarmError as error:
            return type(error).__name__

    write_frame(fed.connection, Down.PRELOAD, pickle.dumps(("x", cloudpickle.dumps((outside, ())))))
    assert fed.receive()[0] == Up.LOADED
    (name,) = fed.run(lambda _: preloaded("x"), [0])
    assert name == "FarmError"
    fed.run(_same, [1, 2])
    deadline = time.monotonic() + WITHIN_S
    while fed.progress.read() is not None:  # it rests only after its answer
        assert time.monotonic() < deadline


def test_the_task_that_runs_is_on_the_page_with_its_own_start(fed: Fed) -> None:
    before = time.monotonic()
    chunk = fed.send(lambda n: time.sleep(0.2 * n), [0, 0, 1])
    while (running := fed.progress.read()) is None or running[1] < 2:
        assert time.monotonic() < before + WITHIN_S
    assert running[0] == chunk
    assert before < running[2] < time.monotonic()
    assert sum(map(len, fed.answers())) == 3


def test_a_recalled_chunk_starts_nothing_more(fed: Fed) -> None:
    chunk = fed.send(lambda n: time.sleep(0.05), range(1000))
    answers = fed.answers()
    ended = len(next(answers))
    fed.progress.recall(chunk)
    ended += sum(map(len, answers))
    assert 1 <= ended < 1000
    assert fed.run(_same, [1]) == [1]


def test_an_input_or_a_function_that_cannot_be_opened_is_no_fault_of_the_function(fed: Fed) -> None:
    class Strange:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    good, bad, after = fed.run(_same, [1, Strange(), 3], plain=False)
    assert (good, after) == (1, 3)
    assert (bad.cause, bad.type) == (Cause.INPUT, "ValueError")

    def inner(number: int) -> Any:
        return strange, number

    strange = Strange()
    for plain in (True, False):
        wrecks = fed.run(inner, [1, 2], plain=plain)
        assert [(each.cause, each.type) for each in wrecks] == [(Cause.INPUT, "ValueError")] * 2


def test_a_traceback_begins_with_the_users_code(fed: Fed) -> None:
    def fail(number: int) -> None:
        raise LookupError(number)

    for plain in (True, False):
        (wreck,) = fed.run(fail, [1], plain=plain)
        assert wreck.cause == Cause.EXCEPTION
        assert "in fail" in wreck.traceback
        assert "runner.py" not in wreck.traceback


def test_large_frames_come_whole_both_ways(fed: Fed) -> None:
    blob = os.urandom(5 << 20)
    assert fed.run(lambda data: data[::-1], [blob], plain=False)[0].size > len(blob)
    assert fed.run(len, [blob, b""], plain=False) == [len(blob), 0]
    texts = ["x" * 20_000] * 500
    assert fed.run(lambda n: "x" * 20_000, range(500)) == texts


def test_a_task_waits_no_longer_than_it_asks_to(fed: Fed) -> None:
    def slack_ns(_: object) -> int:
        import ctypes

        pr_get_timerslack = 30
        return int(ctypes.CDLL(None).prctl(pr_get_timerslack))

    assert fed.run(slack_ns, [0]) == [1]
