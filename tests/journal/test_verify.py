from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hpcflow.core.event import AnyEvent, TaskLost, TasksSucceeded
from hpcflow.core.task import Cause, ErrorText
from hpcflow.errors import JournalError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.payload import write_payload
from hpcflow.journal.verify import Verdict, verify
from tests.journal.events import a_run
from tests.journals import Script, write_run


def judged(tmp_path: Path, script: Script) -> Verdict:
    return verify(write_run(tmp_path / "run", script.events))


def problems(tmp_path: Path, script: Script) -> list[tuple[str | None, str]]:
    """Return key and text of each problem; the stage is the same in all these runs."""
    verdict = judged(tmp_path, script)
    assert not verdict.complete
    assert {problem.stage for problem in verdict.problems} <= {"simulate"}
    return [(problem.key, problem.what) for problem in verdict.problems]


def begun(*keys: str) -> Script:
    return Script().session(0).joined(1).stage(2).offered(2, *keys)


def test_a_finished_run_is_complete(tmp_path: Path) -> None:
    verdict = judged(tmp_path, a_run())
    assert verdict.complete
    assert verdict.problems == []
    assert (verdict.offered, verdict.succeeded, verdict.failed, verdict.lost) == (6, 5, 1, 0)
    assert (verdict.cancelled, verdict.sessions, verdict.finished) == (0, 1, True)


def test_a_task_without_an_outcome_is_named(tmp_path: Path) -> None:
    script = begun("x", "y").ran(3, [("x", 2, 3)]).stage_closed(3, offered=2).close(4)
    assert problems(tmp_path, script) == [("y", "no recorded outcome")]


def test_a_failed_attempt_is_no_outcome(tmp_path: Path) -> None:
    script = begun("x").failed(3, "x", (2, 3), again=True).attempt_lost(3, "x")
    script.stage_closed(3, offered=1).close(4)
    assert problems(tmp_path, script) == [("x", "no recorded outcome")]


def test_a_doubled_outcome_is_named(tmp_path: Path) -> None:
    script = begun("x", "y").ran(3, [("x", 2, 3), ("y", 3, 3)]).failed(4, "x", (3, 4))
    script.stage_closed(4, offered=2).close(5)
    assert problems(tmp_path, script) == [("x", "2 recorded outcomes")]


def test_an_outcome_of_a_task_that_was_never_offered_is_named(tmp_path: Path) -> None:
    script = begun("x").ran(3, [("x", 2, 3), ("y", 3, 3)]).stage_closed(4, offered=1).close(5)
    assert problems(tmp_path, script) == [("y", "an outcome, but never offered")]


def test_a_task_that_was_offered_twice_is_named(tmp_path: Path) -> None:
    script = begun("x").offered(3, "x").ran(4, [("x", 3, 4)]).stage_closed(4, offered=1).close(5)
    assert problems(tmp_path, script) == [("x", "offered 2 times")]


def test_a_stage_that_may_have_further_tasks_is_named(tmp_path: Path) -> None:
    script = begun("x").ran(3, [("x", 2, 3)])
    assert problems(tmp_path, script) == [
        (None, "not finished: more tasks may be offered when it is resumed")
    ]


def test_tasks_that_went_missing_between_end_and_offers_are_counted(tmp_path: Path) -> None:
    script = begun("x").ran(3, [("x", 2, 3)]).stage_closed(4, offered=2).close(5)
    assert problems(tmp_path, script) == [(None, "2 tasks at its end, 1 offered")]


def test_what_a_cancelled_stage_gave_up_is_counted_and_no_problem(tmp_path: Path) -> None:
    script = begun("x", "y").ran(3, [("x", 2, 3)])
    verdict = judged(tmp_path, script.stage_closed(4, offered=3, cancelled=True).close(5))
    assert verdict.complete  # the third was cancelled before it was known to the run
    assert (verdict.offered, verdict.succeeded, verdict.cancelled) == (2, 1, 1)


def test_a_cancelled_stage_that_was_opened_again_is_not_excused(tmp_path: Path) -> None:
    script = begun("x").stage_closed(3, offered=1, cancelled=True).close(4, "interrupted")
    assert problems(tmp_path, script.session(10).joined(11).stage(12)) == [
        ("x", "no recorded outcome"),
        (None, "not finished: more tasks may be offered when it is resumed"),
    ]


def test_a_lost_task_is_counted(tmp_path: Path) -> None:
    script = begun("x").attempt_lost(3, "x")
    text = ErrorText(type="SlotLost", message="slot a vanished", traceback="")
    stamps = dict.fromkeys(("at", "created", "submitted", "started", "finished"), 4.0)
    cause = Cause.SLOT_LOST
    script.events.append(
        TaskLost(stage="simulate", key="x", slot="a", attempt=2, cause=cause, error=text, **stamps)
    )
    verdict = judged(tmp_path, script.stage_closed(5, offered=1).close(6))
    assert verdict.complete
    assert verdict.lost == 1


@pytest.mark.parametrize("reason", ["interrupted", "error: no space", None])
def test_a_run_whose_driver_did_not_finish_is_not_complete(
    tmp_path: Path, reason: str | None
) -> None:
    script = begun("x").ran(3, [("x", 2, 3)]).stage_closed(3, offered=1)
    if reason is not None:
        script.close(4, reason)
    verdict = judged(tmp_path, script)
    assert not verdict.finished
    assert not verdict.complete
    assert verdict.problems == []


def test_a_resumed_run_is_judged_by_its_last_session(tmp_path: Path) -> None:
    script = begun("x", "y").ran(3, [("x", 2, 3)]).close(4, "interrupted")
    script.session(10).joined(11).stage(12)
    assert not judged(tmp_path, script).complete
    script.ran(13, [("y", 12, 13)]).stage_closed(13, offered=2).close(14)
    verdict = judged(tmp_path, script)
    assert verdict.complete
    assert verdict.sessions == 2


def test_a_finished_run_that_was_opened_again_and_killed_is_not_finished(tmp_path: Path) -> None:
    verdict = judged(tmp_path, a_run().session(20))
    assert not verdict.finished
    assert verdict.problems == []


def test_stages_are_judged_apart(tmp_path: Path) -> None:
    script = Script().session(0).joined(1).stage(1, "x").stage(1, "y")
    script.offered(2, "k", stage="x").offered(2, "k", stage="y").ran(3, [("k", 2, 3)], stage="x")
    script.stage_closed(4, "x", offered=1).stage_closed(4, "y", offered=1).close(5)
    verdict = judged(tmp_path, script)
    assert [(p.stage, p.key, p.what) for p in verdict.problems] == [
        ("y", "k", "no recorded outcome")
    ]


def test_a_run_without_events_is_not_complete(tmp_path: Path) -> None:
    verdict = judged(tmp_path, Script())
    assert (verdict.offered, verdict.sessions, verdict.complete) == (0, 0, False)


@pytest.fixture
def with_payload(tmp_path: Path) -> tuple[RunDirectory, Path]:
    """Return a complete run with one value in a payload file, and that file."""
    script = begun("x", "y").stage_closed(4, offered=2).close(5)
    directory = write_run(tmp_path / "run", script.events)
    ref = write_payload(pickle.dumps("y" * 99), run=directory.path, stage="simulate", name="y.1")
    event: AnyEvent = TasksSucceeded(
        at=3.0,
        stage="simulate",
        slot="a",
        attempt=1,
        submitted=2.0,
        keys=["x", "y"],
        values=[1, None],
        created=[2.0, 2.0],
        started=[2.0, 2.5],
        finished=[2.5, 3.0],
        payloads={1: ref},
    )
    write_run(directory.path, [*script.events[:-2], event, *script.events[-2:]])
    return directory, directory.path / ref.file


def test_payload_files_are_checked(with_payload: tuple[RunDirectory, Path]) -> None:
    directory, file = with_payload
    assert verify(directory).complete
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    (problem,) = verify(directory).problems
    assert problem.key == "y"
    assert "its digest is not the one in the journal" in problem.what


def test_a_missing_payload_is_named(with_payload: tuple[RunDirectory, Path]) -> None:
    directory, file = with_payload
    file.unlink()
    (problem,) = verify(directory).problems
    assert problem.key == "y"
    assert "No such file or directory" in problem.what


def test_a_damaged_journal_is_not_judged(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", a_run().events)
    lines = directory.journal.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"k0", b"k9")
    directory.journal.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match="line 5 is damaged: its checksum does not match"):
        verify(directory)
