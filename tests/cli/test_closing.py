"""The table that closes a run."""

from hpcflow.cli.closing import closing_rows, table
from hpcflow.core.event import SlotJoined, TaskFailed, TasksSucceeded
from hpcflow.core.task import AnyOutcome
from hpcflow.journal.outcome import outcomes_of
from hpcflow.timing.ledger import ledger_of
from tests.journals import Script


def _outcomes(script: Script, *, replayed: bool = False) -> list[AnyOutcome]:
    [place] = [event for event in script.events if isinstance(event, SlotJoined)]
    return [
        outcome
        for event in script.events
        if isinstance(event, TasksSucceeded | TaskFailed)
        for outcome in outcomes_of(event, place, None, replayed=replayed)
    ]


def test_it_counts_outcomes_and_the_slot_seconds_lost() -> None:
    # One slot for 20 s: up after 4 s, idle while a task waits for 2 s, then 10 s and 3 s of work.
    script = Script().session(0, slots=1).joined(4, preload_s=1).stage(4, total=2)
    script.offered(4, "x", "y").sent(6, "x", "y").ran(16, [("x", 6, 16)])
    script.failed(19, "y", (16, 19)).stage_closed(19, offered=2).close(20)
    outcomes = _outcomes(script)
    assert dict(closing_rows(outcomes, ledger_of(script.events))) == {
        "tasks": "2",
        "succeeded": "1",
        "failed": "1",
        "utilization": "50.0 % of 20.0 slot seconds",
        "lost to start-up": "4.0 slot seconds",
        "lost to dispatch": "2.0 slot seconds",
        "lost to tail": "0.0 slot seconds",
    }


def test_replayed_outcomes_are_counted_apart() -> None:
    script = Script().session(0).joined(1).stage(1).offered(1, "x").sent(1, "x")
    script.ran(2, [("x", 1, 2)]).close(3)
    outcomes = _outcomes(script, replayed=True)
    rows = dict(closing_rows(outcomes, ledger_of(script.events)))
    assert rows["recorded before"] == "1"


def test_columns_are_aligned() -> None:
    assert table([("a", "1"), ("long", "2 s")]) == "a     1\nlong  2 s"
