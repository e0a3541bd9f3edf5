"""The documentation names everything that the code has, so neither can drift from the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click

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

    documented = re.findall(r"^\| `hpcflow (\w+)", readme, re.MULTILINE)

    assert sorted(documented) == sorted(main.list_commands(click.Context(main)))
