from __future__ import annotations

from typing import Any

import pytest

from hpcflow.core.task import AnyOutcome, Cause, ErrorText, Failed, Succeeded
from hpcflow.ensembles.openmm.configuration import Plan
from hpcflow.ensembles.openmm.statistics import Mean
from hpcflow.ensembles.openmm.summary import rows_of, tally_of

PLAN = Plan(
    temperatures_k=(300.0, 300.0, 400.0),
    segments=2,
    steps=500,
    report_steps=50,
    equilibration_steps=0,
)


def _stamps(replica: int, segment: int, started: float) -> dict[str, Any]:
    return {
        "key": f"r{replica:03d}-s{segment:03d}",
        "stage": "segments",
        "attempt": 1,
        "host": "a",
        "worker": "w",
        "slot": "s",
        "device": "cpu",
        "created": started,
        "submitted": started,
        "started": started,
        "finished": started + 10,
        "collected": started + 10,
    }


def _succeeded(replica: int, segment: int, started: float, kinetic: Mean) -> Succeeded:
    value = {
        "replica": replica,
        "segment": segment,
        "temperature_k": PLAN.temperatures_k[replica],
        "ns": 0.5,
        "kinetic_temperature_k": {"mean": kinetic.mean, "sem": kinetic.sem},
    }
    return Succeeded(stored=value, **_stamps(replica, segment, started))


def _outcomes() -> list[AnyOutcome]:
    error = ErrorText(type="FloatingPointError", message="blew up", traceback="")
    return [
        _succeeded(0, 0, 100.0, Mean(mean=298.0, sem=3.0)),
        _succeeded(0, 1, 110.0, Mean(mean=304.0, sem=4.0)),
        _succeeded(2, 0, 100.0, Mean(mean=401.0, sem=2.0)),
        Failed(cause=Cause.EXCEPTION, error=error, **_stamps(1, 0, 110.0)),
    ]


def test_totals_count_segments_time_and_replicas_that_ended_early() -> None:
    tally = tally_of(PLAN, _outcomes(), held_s=20.0)
    assert (tally.segments_done, tally.replicas_complete) == (3, 1)
    assert tally.ended_early == ["r001-s000"]
    assert tally.ns == pytest.approx(1.5)
    assert tally.held_s == 20.0


def test_segments_of_one_temperature_share_a_mean() -> None:
    tally = tally_of(PLAN, _outcomes(), held_s=20.0)
    assert tally.temperatures == {300.0: Mean(mean=301.0, sem=2.5), 400.0: Mean(mean=401.0, sem=2)}


def test_rows_say_what_was_simulated_and_what_was_not() -> None:
    assert rows_of(PLAN, tally_of(PLAN, _outcomes(), held_s=20.0)) == [
        ("replicas", "1 of 3 complete"),
        ("segments", "3 of 6 done"),
        ("simulated", "1.500 ns"),
        ("aggregate speed", "6480.0 ns/day"),
        ("replicas ended early", "1: at r001-s000"),
        ("lowest temperature", "300.0 K, kinetic 301.0 ± 2.5 K"),
        ("highest temperature", "400.0 K, kinetic 401.0 ± 2.0 K"),
    ]


def test_a_run_without_outcomes_has_a_summary() -> None:
    assert rows_of(PLAN, tally_of(PLAN, [], held_s=0.0)) == [
        ("replicas", "0 of 3 complete"),
        ("segments", "0 of 6 done"),
        ("simulated", "0.000 ns"),
    ]


def test_many_replicas_that_ended_early_are_counted_and_some_named() -> None:
    error = ErrorText(type="E", message="", traceback="")
    outcomes = [
        Failed(cause=Cause.EXCEPTION, error=error, **_stamps(replica, 0, 1.0))
        for replica in range(9)
    ]
    rows = dict(rows_of(PLAN, tally_of(PLAN, outcomes, held_s=20.0)))
    assert rows["replicas ended early"] == (
        "9: at r000-s000, at r001-s000, at r002-s000, at r003-s000, ..."
    )
