from __future__ import annotations

import io

import pandas as pd

from hpcflow.timing.report import COLUMNS, write_timings
from tests.journals import Script


def table(script: Script, *, now: float | None = None) -> pd.DataFrame:
    text = io.StringIO()
    count = write_timings(script.events, text, now=now)
    frame = pd.read_csv(io.StringIO(text.getvalue()), keep_default_na=True)
    assert len(frame) == count
    assert tuple(frame.columns) == COLUMNS
    return frame


def test_one_row_an_attempt_for_pandas() -> None:
    script = Script().session(0).joined(1).stage(1, total=2).offered(1, "k,0", 'k"1')
    script.sent(2, "k,0").failed(3, "k,0", (2, 3), again=True).sent(3, "k,0", attempt=2)
    script.ran(5, [("k,0", 3.25, 5)], attempt=2).sent(5, 'k"1')
    frame = table(script)
    assert list(frame.key) == ["k,0", "k,0", 'k"1']
    assert list(frame.attempt) == [1, 2, 1]
    assert list(frame.ended) == ["failed", "succeeded", "lost"]
    assert list(frame.cause.fillna("")) == ["exception", "", "cut off"]
    assert frame.started[1] == 3.25
    assert frame.collected.isna().tolist() == [False, False, True]
    assert list(frame.session) == [1, 1, 1]


def test_what_runs_in_a_live_run_has_no_finish() -> None:
    script = Script().session(0).joined(1).stage(1, total=1).offered(1, "k0").sent(2, "k0")
    frame = table(script, now=9.0)
    assert list(frame.ended) == ["running"]
    assert frame.finished.isna().all()


def test_a_run_without_attempts_has_only_its_header() -> None:
    assert table(Script().session(0)).empty
