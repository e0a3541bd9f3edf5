from __future__ import annotations

import html.parser
import time
from pathlib import Path

import numpy as np
import pytest

from hpcflow.dashboards.report import render, write_report
from hpcflow.dashboards.source import RunSource
from hpcflow.errors import JournalError
from tests.journals import Script, write_run

NASTY = "</script><img src=x onerror=alert(1)>"


class _Page(html.parser.HTMLParser):
    """Collects what a browser would load, and the text outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.images = 0
        self.text: list[str] = []
        self._skip = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skip = tag in {"script", "style"}
        self.images += tag == "img"
        for name, content in attrs:
            if name in {"src", "href"} and content is not None and not content.startswith("data:"):
                self.loads.append(content)

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.text.append(data)


def read(document: str) -> _Page:
    page = _Page()
    page.feed(document)
    page.close()
    return page


def words(document: str) -> str:
    return " ".join(" ".join(read(document).text).split())


def simulated(path: Path) -> Script:
    (path / "tasks").mkdir(parents=True)
    np.save(path / "tasks" / "t.npy", np.random.default_rng(1).normal(size=(50, 1, 2)))
    run = Script().session(0, slots=2).joined(1, "a", preload_s=0.5).joined(1, "b")
    run.stage(1, NASTY, kind="stream").offered(1, "k0", NASTY, "k2", stage=NASTY)
    values = [
        {
            "temperature_k": 300.0,
            "ns": 0.1,
            "kinetic_temperature_k": {"mean": 299.0, "sem": 2.0},
            "files": {"torsions": "tasks/t.npy"},
        }
    ]
    run.sent(2, "k0", stage=NASTY).ran(6, [("k0", 2, 6)], stage=NASTY, values=values)
    run.failed(5, NASTY, (2, 5), slot="b", stage=NASTY, message=NASTY)
    run.sent(6, "k2", stage=NASTY)
    run.session(100, slots=2).joined(101, "a").stage(101, NASTY, kind="stream")
    run.sent(101, "k2", stage=NASTY).ran(104, [("k2", 101, 104)], stage=NASTY)
    return run.stage_closed(104, NASTY, offered=3).close(105)


def test_the_report_is_one_file_that_loads_nothing_and_runs_nothing_foreign(
    tmp_path: Path,
) -> None:
    run = simulated(tmp_path / "r")
    toml = f"[ensemble]\nname = '{NASTY}'\n"
    directory = write_run(tmp_path / "r", run.events, toml=toml)
    document = render(RunSource.open(directory.path), now=200.0)
    page = read(document)
    assert page.loads == []
    assert page.images == 0
    assert NASTY not in document
    assert NASTY in words(document)


def test_the_report_holds_ledger_slots_physics_failures_and_versions(tmp_path: Path) -> None:
    run = simulated(tmp_path / "r")
    directory = write_run(tmp_path / "r", run.events, toml="[versions]\nopenmm = '8.1'\n")
    document = render(RunSource.open(directory.path), now=200.0)
    text = words(document)
    for title in ("Slot time", "Slots", "Physics", "Tasks", "Sessions and versions"):
        assert title in text
    assert "state finished 2 sessions" in text
    assert "its minimum at zero, from 50 frames in 1 files" in text
    assert "1 of 1 thermostats lie within" in text
    assert "versions.openmm 8.1" in text
    assert "Attempts that did not succeed" in text
    for figure in ("What each slot ran", "Busy slots", "Free energy at 300 K", "F [kJ/mol]"):
        assert figure in document


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(), "No driver has opened this run yet"),
        (Script().session(0), "not finished (killed)"),
        (Script().session(0).joined(1).close(3, "interrupted"), "not finished (interrupted)"),
        (Script().session(0).joined(1).stage(1, total=3).close(3), "state finished"),
    ],
)
def test_a_run_with_little_in_it_has_a_report(tmp_path: Path, script: Script, said: str) -> None:
    directory = write_run(tmp_path / "r", script.events)
    assert said in words(render(RunSource.open(directory.path), now=10.0))


def test_a_hundred_thousand_attempts_make_a_report_of_a_few_megabytes(tmp_path: Path) -> None:
    run = Script().session(0, slots=50).stage(0, total=100_000)
    for slot in range(50):
        run.joined(1, f"s{slot}")
        for chunk in range(20):
            begin = 1 + chunk * 10.0
            times = [
                (f"{slot}-{chunk}-{n}", begin + n * 0.1, begin + n * 0.1 + 0.09) for n in range(100)
            ]
            run.ran(begin + 10, times, slot=f"s{slot}")
    directory = write_run(tmp_path / "r", run.close(210).events)
    began = time.monotonic()
    document = render(RunSource.open(directory.path), now=300.0)
    assert time.monotonic() - began < 60
    assert len(document) < 8e6
    assert "100,000 attempts are drawn as" in words(document)


def test_a_report_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", Script().session(0).events)
    with pytest.raises(JournalError, match="cannot write"):
        write_report(RunSource.open(directory.path), tmp_path / "no" / "x.html", now=1.0)
