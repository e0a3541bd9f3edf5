"""A run goes on where it stopped, and is never continued with something else."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpcflow import Failed, Farm, JournalError, RequestError
from hpcflow.core.event import TasksSucceeded
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import Verdict, verify


def verdict_of(run: Path) -> Verdict:
    return verify(RunDirectory.existing(run))


def counted(notes: Path) -> Any:
    def square(number: int) -> int:
        with notes.open("a") as file:
            file.write(f"{number}\n")
        return number * number

    return square


def stop_after_the_first(run: Path, function: Any) -> None:
    """Let a driver fail in its loop."""

    def drive() -> None:
        with Farm(slots=1, run=run) as farm:
            for outcome in farm.map(function, range(50)):
                raise RuntimeError(outcome.key)

    with pytest.raises(RuntimeError):
        drive()


def test_recorded_outcomes_come_back_without_running(tmp_path: Path) -> None:
    run, notes = tmp_path / "run", tmp_path / "notes"
    square = counted(notes)
    with Farm(slots=2, run=run) as farm:
        first = {o.key: o.result() for o in farm.map(square, range(10))}
    with Farm(slots=2, run=run) as farm:
        again = list(farm.map(square, range(10)))
    assert {o.key: o.result() for o in again} == first
    assert all(o.replayed for o in again)
    assert len(notes.read_text().splitlines()) == 10
    assert verdict_of(run).complete


def test_what_is_missing_runs(tmp_path: Path) -> None:
    run, notes = tmp_path / "run", tmp_path / "notes"
    square = counted(notes)
    stop_after_the_first(run, square)
    stopped = verdict_of(run)
    assert not stopped.complete
    assert 1 <= stopped.succeeded < 50
    with Farm(slots=2, run=run) as farm:
        outcomes = list(farm.map(square, range(50)))
    assert sorted(o.result() for o in outcomes) == [n * n for n in range(50)]
    assert sum(o.replayed for o in outcomes) == stopped.succeeded
    assert verdict_of(run).complete


def test_failures_come_back_as_they_were(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise ValueError("as recorded")

    for replayed in (False, True):
        with Farm(slots=1, run=tmp_path / "run") as farm:
            (outcome,) = farm.map(fail, [0])
            assert outcome.replayed is replayed
            assert isinstance(outcome, Failed)
            assert outcome.error.message == "as recorded"
            assert "in fail" in outcome.error.traceback


def test_values_of_every_size_come_back_equal(tmp_path: Path) -> None:
    values = [1.5, (1, 2), {"a": [None]}, b"\0" * 100, "x" * 200_000, list(range(50_000)), {3, 4}]
    for _ in range(2):
        with Farm(slots=2, run=tmp_path / "run") as farm:
            for outcome in farm.map(lambda v: v, values, key=lambda v: str(values.index(v))):
                assert outcome.result() == values[int(outcome.key)]
    payloads = list((tmp_path / "run" / "payloads").rglob("*.pickle"))
    assert len(payloads) == 2


def test_a_payload_that_was_altered_is_not_trusted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Farm(slots=1, run=run) as farm:
        list(farm.map(lambda n: "x" * 10**6, [0], key=str))
    (payload,) = (run / "payloads").rglob("*.pickle")
    payload.write_bytes(payload.read_bytes()[:-1] + b"!")
    assert [(p.key, "digest" in p.what) for p in verdict_of(run).problems] == [("0", True)]
    with Farm(slots=1, run=run) as farm:
        (outcome,) = farm.map(lambda n: "x" * 10**6, [0], key=str)
        with pytest.raises(JournalError, match="its digest is not the one in the journal"):
            outcome.result()


def test_a_seeded_stream_continues_exactly(tmp_path: Path) -> None:
    def evolve(run: Path, budget: int) -> list[float]:
        with Farm(slots=2, run=run, seed=5) as farm, farm.stream(abs) as stream:
            draws = random.Random(farm.seed)
            stream.submit_all(-draws.random() for _ in range(4))
            best: list[float] = []
            for outcome in stream:
                best.append(outcome.result())
                if len(best) == budget:
                    os._exit(9) if budget < 40 else None  # as if killed: nothing is closed
                if stream.submitted < 40:
                    stream.submit(-outcome.result() * draws.random())
            return best

    run = tmp_path / "run"
    for budget in (10, 25):
        pid = os.fork()
        if pid == 0:
            evolve(run, budget)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    values = evolve(run, 40)
    assert len(values) == 40
    verdict = verdict_of(run)
    assert verdict.complete, verdict.problems
    assert (verdict.offered, verdict.succeeded, verdict.sessions) == (40, 40, 3)
    assert values == evolve(run, 40)


def test_an_unseeded_stream_is_told_that_it_must_be_seeded(tmp_path: Path) -> None:
    def submit(value: float) -> None:
        with Farm(slots=1, run=tmp_path / "run") as farm, farm.stream(abs) as stream:
            stream.submit(value)
            list(stream)

    submit(0.25)
    with pytest.raises(RequestError, match="random numbers must seed them"):
        submit(0.75)


def test_changed_inputs_are_reported(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Farm(slots=1, run=run) as farm:
        list(farm.map(abs, [1, 2], stage="by-position"))
        list(farm.map(abs, [1, 2], stage="by-name", key=lambda n: f"t{n % 2}"))
    with Farm(slots=1, run=run) as farm:
        with pytest.raises(RequestError, match="the input of task 1 "):
            list(farm.map(abs, [1, 3], stage="by-position"))
        with pytest.raises(RequestError, match="the input of task 't0' "):
            list(farm.map(abs, [1, 4], stage="by-name", key=lambda n: f"t{n % 2}"))
    with Farm(slots=1, run=run, reuse_changed=True) as farm:
        outcomes = list(farm.map(abs, [1, 3], stage="by-position"))
        assert sorted(o.result() for o in outcomes) == [1, 2]


def test_a_changed_function_is_reported(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Farm(slots=1, run=run) as farm:
        list(farm.map(lambda n: n + 1, [1], stage="s"))
    with Farm(slots=1, run=run) as farm, pytest.raises(RequestError, match="has changed since"):
        farm.map(lambda n: n + 2, [1], stage="s")
    with Farm(slots=1, run=run, reuse_changed=True) as farm:
        assert [o.result() for o in farm.map(lambda n: n + 2, [1], stage="s")] == [2]


def test_inputs_without_an_order_of_their_own_are_known_again(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys\nfrom hpcflow import Farm\n"
        "class Box:\n    def __init__(self, names): self.names = names\n"
        "with Farm(slots=1, run=sys.argv[1]) as farm:\n"
        "    tasks = [{'a', 'b', 'c', 'd'}, Box({'x', 'y', 'z'})]\n"
        "    print(sum(o.replayed for o in farm.map(lambda _: None, tasks)))\n"
    )
    counts = []
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "run")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        counts.append(int(answer.stdout))
    assert counts == [0, 2]


def test_a_run_holds_one_ensemble(tmp_path: Path) -> None:
    with Farm(slots=1, run=tmp_path / "run", ensemble={"ensemble": "a", "steps": 5}):
        pass
    with Farm(slots=1, run=tmp_path / "run", ensemble={"steps": 5, "ensemble": "a"}):
        pass
    with pytest.raises(RequestError, match=r"another ensemble \(different: steps\)"):
        Farm(slots=1, run=tmp_path / "run", ensemble={"ensemble": "a", "steps": 6})
    with pytest.raises(RequestError, match="another ensemble"):
        Farm(slots=1, run=tmp_path / "run")


def test_a_run_has_one_writer_and_it_is_named(tmp_path: Path) -> None:
    with (
        Farm(slots=1, run=tmp_path / "run"),
        pytest.raises(RequestError, match=f"process {os.getpid()} on host"),
    ):
        Farm(slots=1, run=tmp_path / "run")
    with Farm(slots=1, run=tmp_path / "run"):
        pass


def test_a_run_keeps_its_seed(tmp_path: Path) -> None:
    with Farm(slots=1, run=tmp_path / "run", seed=11) as farm:
        assert farm.seed == 11
    with Farm(slots=1, run=tmp_path / "run") as farm:
        assert farm.seed == 11
    with pytest.raises(RequestError, match="begun with seed 11"):
        Farm(slots=1, run=tmp_path / "run", seed=12)


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RequestError, match=r"it holds .thesis.tex. and no journal"):
        Farm(slots=1, run=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="it is a file"):
        Farm(slots=1, run=tmp_path / "file")


def test_everything_in_a_run_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Farm(slots=1, run=tmp_path / "run") as farm:
            list(farm.map(lambda _: "x" * 10**6, [0]))
            paths = [tmp_path / "run", *(tmp_path / "run").rglob("*")]
            assert (tmp_path / "run" / "security" / "pair.pem") in paths
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    finally:
        os.umask(before)
    wrong = {str(p): oct(m) for p, m in modes.items() if m != (0o700 if p.is_dir() else 0o600)}
    assert wrong == {}
    assert list((tmp_path / "run" / "security").iterdir()) == []


def test_ctrl_c_records_what_is_back_and_says_how_to_resume(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys, time\nfrom hpcflow import Farm\n"
        "with Farm(slots=2, run=sys.argv[1]) as farm:\n"
        "    for outcome in farm.map(lambda n: time.sleep(0.05), range(400)):\n"
        "        print(outcome.key, flush=True)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    seen = [driver.stdout.readline().strip() for _ in range(5)]
    driver.send_signal(signal.SIGINT)
    rest, errors = driver.communicate(timeout=60)
    assert driver.returncode == -signal.SIGINT
    assert "run the same command again to resume" in errors
    recorded: set[str] = set()
    for event in read_journal(tmp_path / "run" / "journal.jsonl"):
        if isinstance(event, TasksSucceeded):
            recorded.update(event.keys)
    assert recorded.issuperset([*seen, *rest.split()])
    assert len(recorded) < 400


DISK_FULL = """
import resource, sys
from hpcflow import Failed, Farm, JournalError
run, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
with Farm(slots=2, run=run) as farm:
    print(len({o.key: o.result() for o in farm.map(lambda n: "v" * 300, range(3000))}))
"""


def test_a_full_disk_stops_the_run_by_name_and_loses_nothing(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DISK_FULL)
    run = tmp_path / "run"
    command = [sys.executable, str(script), str(run)]
    full = subprocess.run(
        [*command, str(200_000)], capture_output=True, text=True, check=False, timeout=120
    )
    assert full.returncode == 1
    assert f"cannot write journal '{run}/journal.jsonl'" in full.stderr
    stopped = verdict_of(run)
    assert 0 < stopped.succeeded < 3000
    assert all(problem.what != "2 recorded outcomes" for problem in stopped.problems)
    resumed = subprocess.run(
        [*command, "0"], capture_output=True, text=True, check=True, timeout=120
    )
    assert resumed.stdout.strip() == "3000"
    assert verdict_of(run).complete


def test_a_value_that_cannot_be_stored_stops_the_run_and_blames_no_task(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def drive() -> None:
        with Farm(slots=1, run=run) as farm:
            farm.wait_for_slots()
            (run / "payloads").rmdir()
            (run / "payloads").symlink_to("/proc/nowhere")
            list(farm.map(lambda _: "x" * 10**6, [0], key=str))

    with pytest.raises(JournalError, match="cannot store the value of task '0'"):
        drive()
    assert (verdict_of(run).failed, verdict_of(run).succeeded) == (0, 0)
    (run / "payloads").unlink()
    with Farm(slots=1, run=run) as farm:
        (outcome,) = farm.map(lambda _: "x" * 10**6, [0], key=str)
        assert len(outcome.result()) == 10**6


def test_a_run_that_moved_still_opens_its_values(tmp_path: Path) -> None:
    with Farm(slots=1, run=tmp_path / "here") as farm:
        list(farm.map(lambda _: "x" * 10**6, [0]))
    (tmp_path / "here").rename(tmp_path / "there")
    with Farm(slots=1, run=tmp_path / "there") as farm:
        (outcome,) = farm.map(lambda _: "x" * 10**6, [0])
        assert outcome.replayed
        assert len(outcome.result()) == 10**6


def test_a_farm_that_could_not_start_lets_go_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(Exception, match="cannot start a scheduler"):
        Farm(slots=1, run=tmp_path / "run")
    monkeypatch.undo()
    began = time.monotonic()
    with Farm(slots=1, run=tmp_path / "run") as farm:
        assert [o.result() for o in farm.map(abs, [-1])] == [1]
    assert time.monotonic() - began < 60
