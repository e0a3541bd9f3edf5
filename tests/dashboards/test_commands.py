from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hpcflow.cli import main
from tests.journals import Script, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    script = Script().session(0).joined(1).stage(1, total=2).offered(1, "k0", "k1")
    script.sent(2, "k0").ran(3, [("k0", 2, 3)]).sent(3, "k1").ran(5, [("k1", 3, 5)])
    return write_run(tmp_path / "r", script.stage_closed(5, offered=2).close(6).events).path


def hpcflow(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_status_prints_a_picture_or_one_json_object(run: Path) -> None:
    assert "2 of 2 ended" in hpcflow("status", run).output
    assert json.loads(hpcflow("status", run, "--json").output)["phase"] == "finished"


def test_watch_ends_at_once_on_a_finished_run(run: Path) -> None:
    assert "finished: 2 of 2 tasks ended" in hpcflow("watch", run).output


def test_timings_go_into_the_run_a_file_or_standard_output(run: Path, tmp_path: Path) -> None:
    assert hpcflow("timings", run).exit_code == 0
    frame = pd.read_csv(run / "timings.csv")
    assert list(frame.key) == ["k0", "k1"]
    hpcflow("timings", run, "--csv", tmp_path / "t.csv")
    written = (tmp_path / "t.csv").read_text()
    assert written == (run / "timings.csv").read_text()
    assert hpcflow("timings", run, "--csv", "-").output == written


def test_report_says_where_it_is(run: Path, tmp_path: Path) -> None:
    assert hpcflow("report", run).output.strip() == str(run / "report.html")
    assert (run / "report.html").stat().st_size > 10_000
    assert hpcflow("report", run, "--output", tmp_path / "x.html").exit_code == 0
    assert (tmp_path / "x.html").exists()


@pytest.mark.parametrize("command", ["status", "watch", "timings", "report"])
def test_what_is_no_run_directory_is_one_clear_error(command: str, tmp_path: Path) -> None:
    result = hpcflow(command, tmp_path)
    assert result.exit_code == 2
    assert "cannot read a run from" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("option", [("timings", "--csv"), ("report", "--output")])
def test_an_output_that_cannot_be_written_is_one_clear_error(
    option: tuple[str, str], run: Path, tmp_path: Path
) -> None:
    command, flag = option
    result = hpcflow(command, run, flag, tmp_path / "missing" / "file")
    assert result.exit_code != 0
    assert "cannot write" in result.output
    assert "Traceback" not in result.output
