"""Farms do the same by either transport."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow import Cause, Failed, Farm, current_task
from hpcflow.errors import RequestError
from hpcflow.farm.transport import TransportName
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

BOTH: tuple[TransportName, ...] = ("lanes", "tasks")
each_transport = pytest.mark.parametrize("transport", BOTH)


@pytest.fixture(scope="module", params=BOTH)
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    with Farm(slots=2, transport=request.param) as farm:
        yield farm


def _square(number: int) -> int:
    return number * number


def _slow_square(number: int) -> int:
    time.sleep(0.02)
    return number * number


def _where(_: int) -> tuple[str, str]:
    time.sleep(0.05)
    return current_task().slot, current_task().device


def test_every_task_of_many_has_its_outcome(farm: Farm) -> None:
    outcomes = {
        outcome.key: outcome.result() for outcome in farm.map(_square, range(5000), key=str)
    }
    assert outcomes == {str(n): n * n for n in range(5000)}


def test_a_stream_goes_on_while_outcomes_come_back(farm: Farm) -> None:
    with farm.stream(_square) as stream:
        stream.submit_all([2, 3])
        seen = []
        for outcome in stream:
            seen.append(outcome.result())
            if stream.submitted < 50:
                stream.submit(1)
    assert sorted(seen) == [1] * 48 + [4, 9]


def test_a_crash_among_many_short_tasks_costs_one_of_them(farm: Farm) -> None:
    def act(number: int) -> int:
        if number % 700 == 350:
            os.kill(os.getpid(), signal.SIGSEGV)
        return number

    outcomes = {int(outcome.key): outcome for outcome in farm.map(act, range(2000), key=str)}
    failed = {key: o for key, o in outcomes.items() if isinstance(o, Failed)}
    assert sorted(failed) == [350, 1050, 1750]
    assert {outcome.cause for outcome in failed.values()} == {Cause.SIGNAL}
    assert all(outcome.attempt == 1 for outcome in outcomes.values())
    assert [o.result() for key, o in sorted(outcomes.items()) if key not in failed] == [
        key for key in range(2000) if key not in failed
    ]


def test_two_stages_share_the_slots(farm: Farm) -> None:
    slow = farm.map(_slow_square, range(40), stage="slow")
    quick = farm.map(_square, range(400), stage="quick")
    assert sorted(outcome.result() for outcome in quick) == [n * n for n in range(400)]
    assert sorted(outcome.result() for outcome in slow) == [n * n for n in range(40)]


def test_a_stage_that_is_given_up_makes_way_for_the_next(farm: Farm) -> None:
    endless = farm.map(time.sleep, [600.0] * 10)
    quick = farm.map(_square, range(3))
    endless.close()
    assert sorted(outcome.result() for outcome in quick) == [0, 1, 4]


def test_plain_dask_tasks_run_while_every_slot_is_busy(farm: Farm, tmp_path: Path) -> None:
    def hold(path: str) -> None:
        while not Path(path).exists():
            time.sleep(0.02)

    gate = tmp_path / "gate"
    outcomes = farm.map(hold, [str(gate)] * 4, stage="held")
    assert farm.client.submit(_square, 3).result(timeout=60) == 9
    gate.touch()
    assert len(list(outcomes)) == 4


def test_slots_run_tasks_while_every_thread_of_dask_is_busy(farm: Farm, tmp_path: Path) -> None:
    def hold(path: str) -> bool:
        while not Path(path).exists():
            time.sleep(0.02)
        return True

    gate = tmp_path / "gate"
    plain = [farm.client.submit(hold, str(gate), pure=False) for _ in range(3)]
    outcomes = farm.map(_slow_square, range(20), stage="beside")
    assert sorted(outcome.result() for outcome in outcomes) == [n * n for n in range(20)]
    gate.touch()
    assert farm.client.gather(plain) == [True] * 3


@each_transport
def test_pools_and_shards_are_kept_to(transport: TransportName, tmp_path: Path) -> None:
    with Farm(
        slots=2,
        devices=("0", "1"),
        cpu_slots=2,
        workers=2,
        shards=2,
        run=tmp_path / "run",
        transport=transport,
    ) as farm:
        farm.wait_for_slots()
        used = {
            pool: Counter(outcome.result()[1] for outcome in farm.map(_where, range(16), pool=pool))
            for pool in ("gpu", "cpu")
        }
        slots = {outcome.result()[0].partition(".")[0] for outcome in farm.map(_where, range(16))}
    assert set(used["gpu"]) == {"0", "1"}
    assert set(used["cpu"]) == {"cpu"}
    assert slots == {"w0", "w1"}
    assert verify(RunDirectory(tmp_path / "run")).complete


@pytest.mark.parametrize(("first", "then"), [BOTH, BOTH[::-1]])
def test_a_run_goes_on_with_the_other_transport(
    first: TransportName, then: TransportName, tmp_path: Path
) -> None:
    def stop_half_way() -> None:
        with Farm(slots=2, run=tmp_path / "run", transport=first) as farm:
            for count, _ in enumerate(farm.map(_slow_square, range(40)), start=1):
                if count == 20:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    with Farm(slots=2, run=tmp_path / "run", transport=then) as farm:
        outcomes = list(farm.map(_slow_square, range(40)))
    assert sorted(outcome.result() for outcome in outcomes) == [n * n for n in range(40)]
    assert sum(outcome.replayed for outcome in outcomes) >= 20
    assert verify(RunDirectory(tmp_path / "run")).complete


@each_transport
def test_a_killed_worker_costs_no_outcome(transport: TransportName, tmp_path: Path) -> None:
    with Farm(slots=2, workers=2, run=tmp_path / "run", transport=transport) as farm:
        farm.wait_for_slots()
        outcomes = farm.map(_slow_square, range(100))
        values = [next(outcomes).result()]
        os.kill(farm.process_ids["w0"], signal.SIGKILL)
        values += [outcome.result() for outcome in outcomes]
    assert sorted(values) == [n * n for n in range(100)]
    assert verify(RunDirectory(tmp_path / "run")).complete


def test_a_transport_that_is_none_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"cannot send chunks by 'mail': a transport is lanes or tasks\."
    ):
        Farm(slots=1, transport="mail")  # type: ignore[arg-type]
