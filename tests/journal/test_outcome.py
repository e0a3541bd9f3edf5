from __future__ import annotations

import pickle
from pathlib import Path

from hpcflow.core.event import PayloadRef, SlotJoined, TaskFailed, TaskLost, TasksSucceeded
from hpcflow.core.task import Cause, ErrorText, Failed, Lost, Pickled, Succeeded
from hpcflow.journal.outcome import outcomes_of
from hpcflow.journal.payload import Payload

PLACE = SlotJoined(
    at=0.5,
    slot="w0.1",
    host="node1",
    worker="w0",
    pid=99,
    device="GPU-1",
    cores=(0, 1),
    booted=0.1,
    preload_s=0.0,
)
SUCCEEDED = TasksSucceeded(
    at=9.0,
    stage="simulate",
    slot="w0.1",
    attempt=2,
    submitted=3.0,
    keys=["x", "y", "z"],
    values=[1, None, None],
    created=[1.0, 1.5, 2.0],
    started=[4.0, 5.0, 6.0],
    finished=[5.0, 6.0, 8.0],
    pickles={1: pickle.dumps((1, 2))},
    payloads={2: PayloadRef(file="payloads/simulate/z.2.pickle", size=7, digest="0f")},
)
ERROR = ErrorText(type="ValueError", message="no force field", traceback="Traceback")


def test_an_outcome_says_all_that_the_event_and_the_place_say() -> None:
    second = list(outcomes_of(SUCCEEDED, PLACE, Path("run")))[1]
    assert isinstance(second, Succeeded)
    assert isinstance(second.stored, Pickled)
    assert second == Succeeded(
        key="y",
        stage="simulate",
        attempt=2,
        host="node1",
        worker="w0",
        slot="w0.1",
        device="GPU-1",
        created=1.5,
        submitted=3.0,
        started=5.0,
        finished=6.0,
        collected=9.0,
        replayed=False,
        stored=second.stored,
    )


def test_values_are_held_as_they_were_recorded_until_they_are_asked_for() -> None:
    first, second, third = outcomes_of(SUCCEEDED, PLACE, Path("run"), replayed=True)
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert isinstance(third, Succeeded)
    assert first.stored == 1
    assert second.value == (1, 2)
    assert isinstance(third.stored, Payload)
    assert repr(third.stored) == "Payload('payloads/simulate/z.2.pickle', 7 bytes)"
    assert [first.replayed, second.replayed, third.replayed] == [True, True, True]


def test_a_task_without_a_value_is_failed_or_lost_as_recorded() -> None:
    for event, kind in ((TaskFailed, Failed), (TaskLost, Lost)):
        ended = event(
            at=9.0,
            stage="simulate",
            key="x",
            slot="w0.1",
            attempt=3,
            created=1.0,
            submitted=2.0,
            started=4.0,
            finished=5.0,
            cause=Cause.TIME_LIMIT,
            error=ERROR,
        )
        assert list(outcomes_of(ended, PLACE, None, replayed=True)) == [
            kind(
                key="x",
                stage="simulate",
                attempt=3,
                host="node1",
                worker="w0",
                slot="w0.1",
                device="GPU-1",
                created=1.0,
                submitted=2.0,
                started=4.0,
                finished=5.0,
                collected=9.0,
                replayed=True,
                cause=Cause.TIME_LIMIT,
                error=ERROR,
            )
        ]
