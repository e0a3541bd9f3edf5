from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcflow.core.event import (
    AnyEvent,
    SlotJoined,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.core.task import AnyOutcome, Cause, ErrorText, Failed, Lost, Stored, Succeeded
from hpcflow.errors import JournalError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.format import encode_line
from hpcflow.journal.outcome import outcomes_of
from hpcflow.journal.payload import write_payload
from hpcflow.journal.reader import read_journal
from hpcflow.journal.resume import Recorded
from hpcflow.journal.verify import verify
from hpcflow.journal.writer import JournalWriter
from tests.journal.events import a_run
from tests.journals import Script, write_run

EVENTS = a_run().events
WHOLE = b"".join(map(encode_line, EVENTS))
KEYS = [f"k{number}" for number in range(6)]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    return directory


def live(directory: RunDirectory, events: list[AnyEvent]) -> list[AnyOutcome]:
    """Return the outcomes that the driver saw while these events were recorded."""
    places: dict[str, SlotJoined] = {}
    seen: list[AnyOutcome] = []
    for event in events:
        if isinstance(event, SlotJoined):
            places[event.slot] = event
        if isinstance(event, TasksSucceeded | TaskFailed | TaskLost):
            seen += outcomes_of(event, places[event.slot], directory.path)
    return seen


def replayed(directory: RunDirectory, stage: str = "simulate") -> list[AnyOutcome]:
    """Return what a resumed run replays, in its order."""
    recorded = Recorded(directory)
    outcomes = [recorded.outcome(stage, key) for key in recorded.stages[stage].final]
    return [outcome for outcome in outcomes if outcome is not None]


def opened(outcome: AnyOutcome) -> dict[str, Any]:
    """Return all that an outcome says, its value opened, but for whether it was replayed."""
    said = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    del said["replayed"]
    if isinstance(said.get("stored"), Stored):
        said["stored"] = type(said["stored"]), said["stored"].load()
    return {"kind": type(outcome), **said}


def begun(*keys: str) -> Script:
    return Script().session(0).joined(1).stage(2).offered(2, *keys)


# -- outcomes


def test_replayed_outcomes_are_what_the_driver_saw(directory: RunDirectory) -> None:
    write_run(directory.path, EVENTS)
    before, after = live(directory, EVENTS), replayed(directory)
    assert [outcome.key for outcome in after] == ["k0", "k1", "k2", "k3", "k4", "k5"]
    assert list(map(opened, after)) == list(map(opened, before))
    assert {outcome.replayed for outcome in before} == {False}
    assert {outcome.replayed for outcome in after} == {True}


def test_values_come_back_whether_plain_pickled_or_in_a_file(directory: RunDirectory) -> None:
    large = write_payload(pickle.dumps({1, 2}), run=directory.path, stage="simulate", name="z.1")
    event = TasksSucceeded(
        at=3.0,
        stage="simulate",
        slot="a",
        attempt=1,
        submitted=2.0,
        keys=["x", "y", "z"],
        values=[{"energy": -44.3}, None, None],
        created=[0.1, 0.2, 0.3],
        started=[2.0, 2.25, 2.5],
        finished=[2.25, 2.5, 3.0],
        pickles={1: pickle.dumps((1, 2))},
        payloads={2: large},
    )
    events = [*begun("x", "y", "z").events, event]
    write_run(directory.path, events)
    before, after = live(directory, events), replayed(directory)
    assert list(map(opened, after)) == list(map(opened, before))
    assert [outcome.result() for outcome in after] == [{"energy": -44.3}, (1, 2), {1, 2}]
    assert [outcome.duration_s for outcome in after] == [0.25, 0.25, 0.5]


def test_failed_and_lost_tasks_come_back_with_cause_and_text(directory: RunDirectory) -> None:
    error = ErrorText(type="SlotLost", message="slot a vanished", traceback="")
    script = begun("x", "y").failed(3, "x", (2, 3), message="no force field")
    lost = TaskLost(
        at=4.0,
        stage="simulate",
        key="y",
        slot="a",
        attempt=4,
        created=0.5,
        submitted=3.0,
        started=4.0,
        finished=4.0,
        cause=Cause.SLOT_LOST,
        error=error,
    )
    events = [*script.events, lost]
    write_run(directory.path, events)
    outcomes = replayed(directory)
    first, second = outcomes
    assert isinstance(first, Failed)
    assert (first.cause, first.error.message) == (Cause.EXCEPTION, "no force field")
    assert isinstance(second, Lost)
    assert (second.cause, second.error, second.attempt) == (Cause.SLOT_LOST, error, 4)
    assert list(map(opened, outcomes)) == list(map(opened, live(directory, events)))


def test_an_attempt_that_is_not_final_is_not_replayed(directory: RunDirectory) -> None:
    script = begun("x", "y").failed(3, "x", (2, 3), again=True).attempt_lost(3, "y")
    write_run(directory.path, script.events)
    recorded = Recorded(directory)
    assert recorded.outcome("simulate", "x") is None
    assert recorded.outcome("simulate", "y") is None


@pytest.mark.parametrize(("stage", "key"), [("simulate", "unheard-of"), ("unheard-of", "k0")])
def test_what_was_never_recorded_has_no_outcome(
    directory: RunDirectory, stage: str, key: str
) -> None:
    write_run(directory.path, EVENTS)
    assert Recorded(directory).outcome(stage, key) is None


def test_outcomes_keep_the_order_in_which_they_were_recorded(directory: RunDirectory) -> None:
    keys = [f"k{number}" for number in range(300)]
    script = begun(*keys)
    order = random.Random(2022).sample(keys, len(keys))
    for number, key in enumerate(order):
        script.ran(number, [(key, number, number + 1)], values=[key])
    write_run(directory.path, script.events)
    assert [outcome.key for outcome in replayed(directory)] == order


def test_outcomes_can_be_asked_for_in_any_order(directory: RunDirectory) -> None:
    keys = [f"k{number}" for number in range(300)]
    script = begun(*keys)
    for number in range(0, 300, 2):  # more lines than are kept
        pair = [(keys[number], 0.0, 1.0), (keys[number + 1], 1.0, 2.0)]
        script.ran(number, pair, values=[number, number + 1])
    write_run(directory.path, script.events)
    recorded = Recorded(directory)
    for number in random.Random(2022).choices(range(300), k=900):
        outcome = recorded.outcome("simulate", keys[number])
        assert isinstance(outcome, Succeeded)
        assert (outcome.key, outcome.value) == (keys[number], number)


def test_a_slot_that_moved_between_sessions_is_told_apart(directory: RunDirectory) -> None:
    script = begun("x", "y").ran(3, [("x", 2, 3)]).close(4, "interrupted").session(10).joined(11)
    moved = script.events[-1]
    assert isinstance(moved, SlotJoined)
    script.events[-1] = msgspec.structs.replace(moved, host="node2", worker="w7", device="GPU-1")
    script.stage(12).ran(13, [("y", 12, 13)])
    write_run(directory.path, script.events)
    places = [(one.slot, one.host, one.worker, one.device) for one in replayed(directory)]
    assert places == [("a", "node1", "w0", "cpu"), ("a", "node2", "w7", "GPU-1")]


# -- what else is known of a run


def test_a_new_run_has_nothing_recorded(directory: RunDirectory) -> None:
    recorded = Recorded(directory)
    assert (recorded.session, recorded.stages, recorded.end) == (None, {}, 0)


def test_the_first_session_names_the_run(directory: RunDirectory) -> None:
    write_run(directory.path, Script().session(0, pid=1).close(1).session(2, pid=2).events)
    session = Recorded(directory).session
    assert session is not None
    assert (session.at, session.pid) == (0, 1)


def test_the_first_opening_of_a_stage_counts(directory: RunDirectory) -> None:
    script = Script().session(0).stage(1, kind="map", total=3).session(5).stage(6, kind="stream")
    write_run(directory.path, script.events)
    opening = Recorded(directory).stages["simulate"].opened
    assert (opening.at, opening.kind, opening.total) == (1, "map", 3)


def test_tasks_are_known_by_position_and_by_the_digest_of_their_input(
    directory: RunDirectory,
) -> None:
    first = TasksOffered(at=1.0, stage="s", first=0, keys=["x", "y"], digests=["d0", "d1"])
    later = TasksOffered(at=2.0, stage="s", first=5, keys=["5-9ab3", "6-77f0"])
    script = Script().session(0).stage(1, "s")
    write_run(directory.path, [*script.events, first, later])
    record = Recorded(directory).stages["s"]
    assert record.keys == {0: "x", 1: "y", 5: "5-9ab3", 6: "6-77f0"}
    assert record.digests == {"x": "d0", "y": "d1"}


def test_a_damaged_journal_is_not_resumed(directory: RunDirectory) -> None:
    directory.journal.write_bytes(WHOLE.replace(b"energy", b"enthalpy"))
    with pytest.raises(JournalError, match="line 8 is damaged"):
        Recorded(directory)


# -- cut anywhere, resumed, finished


def resume_and_finish(directory: RunDirectory) -> None:
    """Open the run as a driver does, and record whatever it still lacks."""
    recorded = Recorded(directory)
    writer = JournalWriter(directory.journal, end=recorded.end)
    stage = recorded.stages.get("simulate")
    known = [] if stage is None else list(stage.keys.values())
    ended = {} if stage is None else stage.final
    script = Script().session(100).joined(101).stage(102)
    script.positions["simulate"] = len(known)
    fresh = [key for key in KEYS if key not in known]
    if fresh:
        script.offered(103, *fresh)
    for key in KEYS:
        if key not in ended:
            script.ran(104, [(key, 103, 104)], values=["resumed"])
    script.stage_closed(105, offered=len(KEYS)).close(106)
    for event in script.events:
        writer.append([event])
    writer.close()


@settings(deadline=None, max_examples=200)
@given(cut=st.integers(0, len(WHOLE)), rubbish=st.binary(max_size=3))
@example(cut=0, rubbish=b"")
@example(cut=len(WHOLE), rubbish=b"")
@example(cut=len(WHOLE) - 1, rubbish=b"")
def test_a_run_cut_at_any_byte_is_resumed_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, cut: int, rubbish: bytes
) -> None:
    directory = RunDirectory(tmp_path_factory.getbasetemp() / "cut")
    directory.create()
    torn = rubbish.replace(b"\n", b"")
    directory.journal.write_bytes(WHOLE[:cut] + torn)
    whole = WHOLE[:cut].count(b"\n")
    before = live(directory, EVENTS[:whole])

    resume_and_finish(directory)

    assert list(read_journal(directory.journal))[:whole] == EVENTS[:whole]
    verdict = verify(directory)
    assert verdict.complete
    assert verdict.offered == verdict.succeeded + verdict.failed == len(KEYS)
    after = replayed(directory)
    assert list(map(opened, after[: len(before)])) == list(map(opened, before))
    assert sorted(outcome.key for outcome in after) == KEYS
