from __future__ import annotations

import pytest

from hpcflow.core.durations import Duration


def learnt(*means_s: float) -> float:
    duration = Duration()
    for mean_s in means_s:
        duration.learn(mean_s)
    assert duration.estimate_s is not None
    return duration.estimate_s


def test_nothing_is_expected_before_the_first_task_is_back() -> None:
    assert Duration().estimate_s is None


def test_the_first_mean_is_taken_as_it_is() -> None:
    assert learnt(3.5) == 3.5


def test_equal_means_change_nothing() -> None:
    assert learnt(*[0.25] * 10) == pytest.approx(0.25)


@pytest.mark.parametrize("outlier_s", [1.0, 1e3, 1e9])
def test_one_outlier_at_most_doubles_the_estimate(outlier_s: float) -> None:
    assert 1e-6 < learnt(1e-6, outlier_s) < 2e-6


def test_a_lasting_change_is_learnt_within_a_few_chunks() -> None:
    assert learnt(1e-3, *[1.0] * 20) == pytest.approx(1.0, rel=0.01)
    assert learnt(1.0, *[1e-3] * 20) == pytest.approx(1e-3, rel=0.01)


def test_a_duration_is_never_nothing() -> None:
    assert learnt(0.0) > 0
    assert learnt(-1.0, 0.0) > 0
