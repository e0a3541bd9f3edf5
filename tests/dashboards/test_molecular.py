from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcflow.core.event import TasksSucceeded
from hpcflow.dashboards.free_energy import BOLTZMANN, free_energy, free_energy_map
from hpcflow.dashboards.molecular import Segment, SegmentFold, read_torsions
from hpcflow.dashboards.thermostat import readings_of
from tests.journals import Script


def value(temperature_k: float, mean: float = 300.0, sem: float = 1.0, **files: str) -> Any:
    return {
        "temperature_k": temperature_k,
        "ns": 0.5,
        "kinetic_temperature_k": {"mean": mean, "sem": sem},
        "files": files,
    }


def fold(values: list[Any]) -> SegmentFold:
    times = [(f"k{number}", 0.0, 1.0) for number in range(len(values))]
    (event,) = Script().ran(1, times, values=values).events
    assert isinstance(event, TasksSucceeded)
    segments = SegmentFold()
    segments.apply(event)
    return segments


def test_only_segments_are_recognised() -> None:
    odd: list[Any] = [
        None,
        3,
        {"temperature_k": "hot", "files": {}},
        {"files": {}},
        ["temperature_k"],
    ]
    segments = fold([*odd, value(310.0), value(300.0), value(310.0)])
    assert segments.temperatures == [300.0, 310.0]
    assert len(segments.at(310.0)) == 2


def test_torsions_of_all_files_are_read_in_degrees(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[math.pi / 2, -math.pi]], [[np.nan, 0.0]]]))
    np.save(tmp_path / "b.npy", np.array([[[3 * math.pi / 2, 0.0]]], dtype=np.float32))
    segments = [
        Segment(temperature_k=300.0, files={"torsions": name}) for name in ("a.npy", "b.npy")
    ]
    torsions = read_torsions(tmp_path, segments)
    assert torsions.phi == pytest.approx([90, -90], abs=1e-4)
    assert torsions.psi == pytest.approx([-180, 0])
    assert (torsions.frames, torsions.files, torsions.unread) == (3, 2, 0)


def test_missing_damaged_pickled_and_outlying_files_are_counted_not_opened(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    np.save(tmp_path / "outside.npy", np.zeros((1, 1, 2)))
    np.save(run / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(run / "shape.npy", np.zeros((3, 2)))
    (run / "damaged.npy").write_bytes(b"\x93NUMPY\x01")
    names = ["../outside.npy", "pickled.npy", "shape.npy", "damaged.npy", "missing.npy"]
    segments = [Segment(temperature_k=300.0, files={"torsions": name}) for name in names]
    torsions = read_torsions(run, [*segments, Segment(temperature_k=300.0, files={})])
    assert (torsions.frames, torsions.files, torsions.unread) == (0, 0, 5)
    assert free_energy_map(torsions, temperature_k=300.0) is None


def test_the_free_energy_of_a_known_distribution_is_recovered() -> None:
    generator = np.random.default_rng(3)
    phi = generator.normal(-60, 20, 400_000)
    psi = generator.uniform(-180, 180, 400_000)
    energy = free_energy(phi, psi, temperature_k=300.0, bins=36)
    assert np.nanmin(energy) == 0
    centre = np.linspace(-175, 175, 36)
    expected = BOLTZMANN * 300.0 * (centre + 60) ** 2 / (2 * 20**2)
    near = np.abs(centre + 60) < 50
    profile = energy[:, near].mean(axis=0)
    profile -= profile.min()
    assert profile == pytest.approx(expected[near] - expected[near].min(), abs=0.25)


def test_each_thermostat_has_its_mean_and_error() -> None:
    readings = readings_of(fold([value(300.0, 301.0, 3.0), value(300.0, 303.0, 4.0)]))
    (reading,) = readings
    assert (reading.mean_k, reading.sem_k, reading.ns) == (302.0, 2.5, 1.0)
    assert reading.within
    (cold,) = readings_of(fold([value(300.0, 290.0, 1.0)]))
    assert not cold.within
