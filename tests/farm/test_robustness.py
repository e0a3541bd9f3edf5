"""What drivers and tasks do to a farm, on purpose or not, and what must hold all the same."""

from __future__ import annotations

import enum
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from hpcflow import Cause, Failed, Farm, FarmError, Lost, RequestError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=2) as farm:
        yield farm


def run_driver(path: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_gone_soon(pid: int) -> None:
    deadline = time.monotonic() + 20
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def test_a_message_that_is_no_text_is_told_in_escapes(farm: Farm) -> None:
    def fail(_: int) -> None:
        raise ValueError("half a pair: \udcff")

    (outcome,) = farm.map(fail, [0])
    assert isinstance(outcome, Failed)
    assert outcome.error.message == r"half a pair: \udcff"


def test_a_task_that_closes_its_runners_stream_ends(farm: Farm) -> None:
    (outcome,) = farm.map(lambda _: os.closerange(3, 256), [0])
    assert isinstance(outcome, Failed | Lost)
    assert [o.result() for o in farm.map(abs, [-1])] == [1]


def test_a_forked_child_does_not_hide_its_parents_end(farm: Farm) -> None:
    def fork_and_die(_: int) -> None:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os._exit(3)

    (outcome,) = farm.map(fork_and_die, [0])
    assert isinstance(outcome, Failed)
    assert outcome.cause is Cause.EXIT


def test_a_forked_child_that_returns_answers_nothing(farm: Farm) -> None:
    def fork(_: int) -> bool:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid != 0

    assert [o.result() for o in farm.map(fork, range(3))] == [True, True, True]


def test_slots_that_come_and_go_break_nothing() -> None:
    def die_sometimes(number: int) -> int:
        if number % 5 == 0:
            os._exit(3)
        return number

    with Farm(slots=6) as farm:
        outcomes = list(farm.map(die_sometimes, range(60)))
    assert sum(isinstance(o, Failed) for o in outcomes) == 12
    assert len(outcomes) == 60


def test_a_preload_that_kills_its_runner_slowly_is_given_up() -> None:
    def load() -> None:
        time.sleep(0.3)
        os._exit(1)

    with Farm(slots=1) as farm:
        farm.wait_for_slots()
        farm.preload("deadly", load)
        with pytest.raises(FarmError, match="before it was ready"):
            list(farm.map(abs, [1]))


def test_a_time_limit_blames_the_task_that_overran(farm: Farm) -> None:
    def sleep_sometimes(number: int) -> int:
        time.sleep(30 if number % 40 == 0 else 0.001)
        return number

    outcomes = list(farm.map(sleep_sometimes, range(200), key=str, time_limit_s=0.3))
    late = {int(o.key) for o in outcomes if isinstance(o, Failed)}
    assert late == {0, 40, 80, 120, 160}


def test_a_run_that_was_interrupted_is_not_whole(tmp_path: Path) -> None:
    answer = run_driver(
        tmp_path / "driver.py",
        "import sys, time\nfrom hpcflow import Farm\n"
        "with Farm(slots=1, run=sys.argv[1]) as farm:\n"
        "    for outcome in farm.map(lambda n: time.sleep(0.05), range(30)):\n"
        "        raise SystemExit(7)\n",
        str(tmp_path / "run"),
    )
    assert answer.returncode == 7
    verdict = verify(RunDirectory.existing(tmp_path / "run"))
    assert verdict.problems
    assert verdict.cancelled == 0


def test_a_loop_that_was_left_for_good_is_cancelled(tmp_path: Path) -> None:
    with Farm(slots=1, run=tmp_path / "run") as farm:
        for _ in farm.map(abs, range(1000)):
            break
    verdict = verify(RunDirectory.existing(tmp_path / "run"))
    assert not verdict.problems
    assert verdict.finished


def test_named_and_unnamed_tasks_of_one_stream_are_known_again(tmp_path: Path) -> None:
    for replays in (0, 4):
        with Farm(slots=1, run=tmp_path / "run") as farm, farm.stream(abs) as stream:
            for number in range(4):
                stream.submit(-number, key=f"k{number}" if number % 2 == 0 else None)
            assert sum(o.replayed for o in stream) == replays


DRIVER_WITH_CLASSES = """
import enum, sys
from dataclasses import dataclass
from hpcflow import Farm

class Color(enum.Enum):
    RED = 1

@dataclass
class Point:
    x: int

WORDS = {"apple", "pear"}
with Farm(slots=1, run=sys.argv[1]) as farm:
    (color,) = farm.map(lambda _: Color.RED, [0], stage="color")
    (point,) = farm.map(Point, [1], stage="point")
    (known,) = farm.map(lambda word: word in {"apple", "pear", "plum"}, ["pear"], stage="known")
    assert color.result() is Color.RED and known.result() is True
    assert isinstance(point.result(), Point) and point.result() == Point(1)
    print(color.replayed, point.replayed, known.replayed)
"""


def test_values_of_the_drivers_own_classes_stay_of_these_classes(tmp_path: Path) -> None:
    for replayed in ("False False False", "True True True"):
        answer = run_driver(tmp_path / "driver.py", DRIVER_WITH_CLASSES, str(tmp_path / "run"))
        assert answer.stdout.strip() == replayed, answer.stderr


def test_a_run_may_be_named_relative_to_where_the_driver_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Farm(slots=1, run="run") as farm:
        monkeypatch.chdir("elsewhere")
        (outcome,) = farm.map(lambda _: "x" * 10**6, [0])
        assert len(outcome.result()) == 10**6
    assert list((tmp_path / "run" / "security").iterdir()) == []


def test_what_a_crashed_runner_left_behind_is_ended(farm: Farm, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def leave_a_child(_: int) -> None:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        note.write_text(str(child.pid))
        os._exit(3)

    list(farm.map(leave_a_child, [0]))
    assert_gone_soon(int(note.read_text()))


def test_what_a_killed_worker_left_behind_is_ended(tmp_path: Path) -> None:
    notes = tmp_path / "pids"

    def start_a_child(number: int) -> int:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with notes.open("a") as file:
            file.write(f"{child.pid}\n")
        if len(notes.read_text().split()) == 1:
            os.kill(psutil.Process().ppid(), signal.SIGKILL)
            child.wait()
        child.kill()
        child.wait()
        return number

    with Farm(slots=1) as farm:
        assert [o.result() for o in farm.map(start_a_child, [5])] == [5]
        assert_gone_soon(int(notes.read_text().split()[0]))


def test_a_killed_driver_leaves_no_keys(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, sys, tempfile\ntempfile.tempdir = sys.argv[1]\nfrom hpcflow import Farm\n"
        "farm = Farm(slots=1)\nfarm.wait_for_slots()\nprint(os.listdir(sys.argv[1]), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    place = tmp_path / "temporary"
    place.mkdir()
    answer = run_driver(script, script.read_text(), str(place))
    assert "hpcflow-" in answer.stdout
    deadline = time.monotonic() + 20
    while list(place.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fork_of_the_driver_holds_neither_farm_nor_run(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\nfrom hpcflow import Farm\n"
        "farm = Farm(slots=1, run=sys.argv[1])\nfarm.wait_for_slots()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    os.closerange(0, 3)\n    time.sleep(15)\n    os._exit(0)\n"
        "print(pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    answer = run_driver(tmp_path / "driver.py", script, str(tmp_path / "run"))
    with Farm(slots=1, run=tmp_path / "run") as farm:
        assert [o.result() for o in farm.map(abs, [-1])] == [1]
    os.kill(int(answer.stdout), signal.SIGKILL)


def test_ctrl_c_while_a_farm_starts_ends_the_driver(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "from hpcflow import Farm\nprint('up', flush=True)\nwith Farm(slots=1): pass\n"
    )
    driver = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    driver.stdout.readline()
    time.sleep(0.35)  # in the middle of what takes about a second; any moment will do
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode in (0, -signal.SIGINT), errors


def test_functions_are_forgotten_with_their_stage(farm: Farm) -> None:
    ballast = bytes(8 << 20)
    farm.wait_for_slots()
    list(farm.map(lambda n: len(ballast), range(2)))
    worker = psutil.Process(farm.process_ids["w0"])
    before = worker.memory_info().rss
    for _ in range(12):
        list(farm.map(lambda n: len(ballast), range(2)))
    assert worker.memory_info().rss - before < 60 << 20


def test_a_large_value_travels_in_pieces(farm: Farm) -> None:
    (outcome,) = farm.map(np.arange, [3_000_000])
    assert int(outcome.result().sum()) == 3_000_000 * 2_999_999 // 2
    (length,) = farm.map(len, [bytes(30 << 20)])
    assert length.result() == 30 << 20


def test_a_refused_map_leaves_its_stage_name_free(farm: Farm) -> None:
    with pytest.raises(RequestError, match="cannot name two tasks"):
        farm.map(abs, [1, 1], stage="corrected", key=str)
    assert [o.result() for o in farm.map(abs, [-1], stage="corrected")] == [1]


@pytest.mark.parametrize("slots", [1.5, "2", True])
def test_slots_are_a_whole_number(slots: object) -> None:
    with pytest.raises(RequestError, match="a whole number"):
        Farm(slots=slots)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**63, "7", 0.5])
def test_a_seed_is_a_whole_number_in_range(seed: object) -> None:
    with pytest.raises(RequestError, match="cannot seed a run"):
        Farm(slots=1, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"retries": "1"}, {"time_limit_s": "3"}, {"retries": 1.5}])
def test_options_have_their_types(farm: Farm, options: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        farm.map(abs, [1], **options)  # type: ignore[arg-type]


def test_workers_share_the_cores() -> None:
    def allowed_cores(_: int) -> set[int]:
        time.sleep(0.05)
        return os.sched_getaffinity(0)

    with Farm(slots=2, workers=2) as farm:
        farm.wait_for_slots()
        masks = {frozenset(o.result()) for o in farm.map(allowed_cores, range(20))}
    available = os.sched_getaffinity(0)
    if len(available) > 1:
        assert len(masks) == 2
        assert frozenset.union(*masks) == available


class Shade(enum.Enum):
    DARK = 1


def test_values_of_importable_classes_come_back(farm: Farm) -> None:
    (outcome,) = farm.map(lambda _: enum.Flag, [0])
    assert outcome.result() is enum.Flag
