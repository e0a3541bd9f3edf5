from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.status import Status, encode_status, status_of
from hpcflow.dashboards.terminal import console_for, line, picture
from hpcflow.journal.lock import RunLock
from tests.journals import Script, write_run


def script() -> Script:
    run = Script().session(0, slots=3).joined(1, "a").joined(1, "b").joined(1, "c")
    run.stage(1, total=5).offered(1, "k0", "k1", "k2", "k3", "k4")
    run.sent(2, "k0").ran(4, [("k0", 2, 4)]).sent(4, "k2")
    run.sent(2, "k1", slot="b").failed(6, "k1", (2, 6), slot="b", message="no [red]ZN\x1b[0m\nat 3")
    return run.slot_lost(7, "c", reason="worker w0 is gone")


def live_status(tmp_path: Path) -> Status:
    directory = write_run(tmp_path / "r", script().events)
    lock = RunLock.acquire(directory)
    status = status_of(RunSource.open(directory.path), now=10.0)
    lock.release()
    return status


def printed(status: Status) -> str:
    text = io.StringIO()
    console_for(text).print(picture(status))
    return text.getvalue()


def test_the_json_object_has_every_documented_field(tmp_path: Path) -> None:
    status = json.loads(encode_status(live_status(tmp_path)))
    assert set(status) == set(Status.__struct_fields__)
    assert status["phase"] == "running"
    assert status["driver"]["pid"] > 0
    assert status["tasks"] == {
        "offered": 5,
        "expected": 5,
        "succeeded": 1,
        "failed": 1,
        "lost": 0,
        "running": 1,
        "waiting": 2,
        "retried": 0,
    }
    assert status["rate_per_s"] == pytest.approx(2 / 8)
    assert status["estimated_end"] == pytest.approx(10 + 3 * 4)
    slots = {slot["slot"]: slot for slot in status["slots"]}
    assert slots["a"]["running"] == {
        "stage": "simulate",
        "key": "k2",
        "attempt": 1,
        "started": 4,
    }
    assert (slots["c"]["up"], slots["c"]["reason"]) == (False, "worker w0 is gone")
    assert status["failures"][0]["cause"] == "exception"


def test_a_dead_run_promises_no_end(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", script().events)
    status = status_of(RunSource.open(directory.path), now=1e6)
    assert (status.rate_per_s, status.estimated_end, status.driver) == (None, None, None)
    assert status.phase == "killed"


def test_the_picture_says_who_drives_what_runs_and_what_failed(tmp_path: Path) -> None:
    text = printed(live_status(tmp_path))
    assert "running by process" in text
    assert "2 of 5 ended, 1 running, 2 waiting, 1 failed, 0 lost" in text
    assert "12 s left" in text
    assert "2 of 3 up, on 1 host" in text
    assert "down: worker w0 is gone" in text
    assert "simulate: k2 (6 s)" in text


def test_foreign_text_is_neither_markup_nor_control_code(tmp_path: Path) -> None:
    text = printed(live_status(tmp_path))
    assert "ValueError: no [red]ZN?[0m" in text
    assert "at 3" not in text
    assert "\x1b" not in text


def test_a_killed_run_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", script().events, toml="[ensemble]\n")
    text = printed(status_of(RunSource.open(directory.path), now=100.0))
    assert "killed (process 4242 on login1)" in text
    assert f"to continue: hpcflow resume {directory.path}" in text.replace("\n", "")


def test_an_error_is_told_with_its_reason(tmp_path: Path) -> None:
    run = script().close(9, "error: disk full")
    directory = write_run(tmp_path / "r", run.events)
    text = printed(status_of(RunSource.open(directory.path), now=100.0))
    assert "stopped by an error" in text
    assert "disk full" in text


def test_an_empty_run_has_a_picture(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", [])
    text = printed(status_of(RunSource.open(directory.path), now=100.0))
    assert "empty" in text
    assert "0 of 0" in text


def test_many_slots_are_cut_short_with_the_ones_that_are_down_first(tmp_path: Path) -> None:
    run = Script().session(0, slots=100)
    for number in range(100):
        run.joined(1, f"w{number}")
    run.slot_lost(2, "w77")
    directory = write_run(tmp_path / "r", run.events)
    lock = RunLock.acquire(directory)
    text = printed(status_of(RunSource.open(directory.path), now=10.0))
    lock.release()
    assert "99 of 100 up, on 1 host; 32 shown, all with --json" in text
    assert "w77" in text
    assert "w99" not in text


def test_one_line_holds_the_essentials(tmp_path: Path) -> None:
    text = line(live_status(tmp_path))
    assert "running: 2 of 5 tasks ended, 1 failed, 0 lost, 1 running, 15/min, end about" in text
