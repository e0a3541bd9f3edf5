"""Steps that end before the driver begins: which of them the driver cannot do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcflow.batch.ends import ENDS, StepsEndedError, StepWatch, parse_steps
from hpcflow.errors import RequestError

WORKERS = {"workers-first-node": 6, "workers": 36, "workers-2": 42}


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def watch(tmp_path: Path, told: list[str]) -> StepWatch:
    (tmp_path / "step-workers-2.log").write_text("Traceback\nOSError: no such device\n")
    return StepWatch(logs=tmp_path, workers=WORKERS, slots=84, tell=told.append)


def test_while_no_step_has_ended_all_slots_can_come(watch: StepWatch, told: list[str]) -> None:
    assert watch.slots_to_come() == 84
    (watch.logs / ENDS).touch()
    assert watch.slots_to_come() == 84
    assert told == []


def test_the_slots_of_a_lost_shard_are_not_waited_for_and_its_words_are_told_once(
    watch: StepWatch, told: list[str]
) -> None:
    (watch.logs / ENDS).write_text("workers-2 1\n")
    assert [watch.slots_to_come(), watch.slots_to_come()] == [42, 42]
    (line,) = told
    assert line.startswith("going on without 42 slots: step workers-2 has ended with code 1.")
    assert line.endswith("OSError: no such device")


@pytest.mark.parametrize(
    ("ended", "named"),
    [
        ("scheduler 2\n", "step scheduler has ended with code 2"),
        ("workers-2 1\nscheduler-2 137\n", "step scheduler-2 has ended with code 137"),
        ("workers-2 1\nworkers 1\n", "step workers-2 has ended with code 1. "),
        ("workers 1\nworkers-first-node 1\nworkers-2 0\n", "step workers has ended with code 1"),
    ],
)
def test_without_a_scheduler_or_most_workers_there_is_nothing_to_wait_for(
    ended: str, named: str, watch: StepWatch
) -> None:
    (watch.logs / ENDS).write_text(ended)
    with pytest.raises(StepsEndedError) as error:
        watch.slots_to_come()
    assert f"cannot start: {named}" in str(error.value)


def test_a_step_without_words_is_said_to_have_none(watch: StepWatch) -> None:
    (watch.logs / ENDS).write_text("scheduler 1\n")
    with pytest.raises(StepsEndedError, match=r"step-scheduler\.log' says nothing"):
        watch.slots_to_come()


def test_the_steps_are_read_as_the_script_writes_them() -> None:
    assert parse_steps("workers-first-node:6,workers:36,workers-2:42") == WORKERS


@pytest.mark.parametrize("text", ["", "workers", "workers:", ":6", "workers:six", "a:1,,b:2"])
def test_what_names_no_steps_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="as worker steps"):
        parse_steps(text)
