"""The farm's client is Dask's own: plain Dask tasks run beside the farm's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from distributed import Client, as_completed

from hpcflow import Farm

PROBLEM = """
class Box:
    def __init__(self, number):
        self.number = number

def square(box):
    return Box(box.number**2)
"""
DRIVER = """
import json
from distributed import as_completed
from hpcflow import Farm
from problem import Box, square

if __name__ == "__main__":
    with Farm(slots=2, workers=2) as farm:
        farm.wait_for_slots()
        futures = farm.client.map(square, [Box(n) for n in range(4)])
        plain = sorted(future.result().number for future in as_completed(futures))
        own = sorted(o.result().number for o in farm.map(square, [Box(n) for n in range(4)]))
        print(json.dumps([plain, own]))
"""


def test_plain_dask_tasks_find_the_modules_that_lie_beside_the_driver(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    (place / "problem.py").write_text(PROBLEM)
    (place / "driver.py").write_text(DRIVER)
    answer = subprocess.run(
        [sys.executable, str(place / "driver.py")],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    squares: Any = json.loads(answer.stdout)
    assert squares == [[0, 1, 4, 9], [0, 1, 4, 9]]


def test_plain_dask_tasks_run_beside_those_of_a_map_and_of_an_executor() -> None:
    with Farm(slots=2) as farm, farm.executor() as executor:
        outcomes = farm.map(lambda n: n + 1, range(200))
        futures = farm.client.map(abs, range(-20, 0))
        calls = [executor.submit(abs, -n) for n in range(200)]
        single = farm.client.submit(pow, 2, 5)
        assert sorted(future.result() for future in as_completed(futures)) == list(range(1, 21))
        assert single.result() == 32
        assert sorted(outcome.result() for outcome in outcomes) == list(range(1, 201))
        assert [call.result() for call in calls] == list(range(200))


def test_what_takes_no_client_finds_the_farms_while_it_is_open() -> None:
    with Farm(slots=1) as farm:
        assert Client.current() is farm.client
        assert [f.result() for f in as_completed([farm.client.submit(abs, -1)])] == [1]
        with Farm(slots=1) as second:
            assert Client.current() is farm.client
            assert second.client.submit(abs, -2).result() == 2
