"""The documentation names everything that the code has, so neither can drift from the other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from hpcflow.cli import main
from hpcflow.core.event import AnyEvent
from hpcflow.core.task import Cause

ROOT = Path(__file__).parents[1]


def test_every_event_stands_in_the_table_of_events() -> None:
    page = (ROOT / "docs/run-directory.md").read_text()
    documented = re.findall(r"^\| `([a-z-]+)` \|", page.partition("## Events")[2], re.MULTILINE)

    assert documented == [kind.__struct_config__.tag for kind in get_args(AnyEvent)]


def test_every_cause_stands_in_the_table_of_outcomes() -> None:
    page = (ROOT / "docs/concepts.md").read_text()
    rows = re.findall(r"^\| `(?:Failed|Lost)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)

    assert [cause for row in rows for cause in row.split(", ")] == list(Cause)


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()

    rows = re.findall(r"^\| (`hpcflow [^|]+) \|", readme, re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`(?:hpcflow )?([\w-]+)", row)]

    assert sorted(documented) == sorted(main.list_commands(click.Context(main)))


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_first_example_of_a_page_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[0]
    (tmp_path / "driver.py").write_text(example)

    answer = subprocess.run(
        [sys.executable, "driver.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert len(answer.stdout.splitlines()) == 3
