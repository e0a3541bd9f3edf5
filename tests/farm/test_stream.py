"""A dynamic stream: the next task depends on outcomes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from hpcflow import BrokenFarmError, Farm, RequestError
from hpcflow.farm.flow import Stream


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=2) as farm:
        yield farm


def test_a_stream_goes_on_while_its_driver_submits(farm: Farm) -> None:
    values = []
    with farm.stream(lambda n: n + 1) as stream:
        stream.submit_all([0, 100])
        for outcome in stream:
            values.append(outcome.result())
            if stream.submitted < 20:
                stream.submit(outcome.result())
        assert (stream.submitted, stream.in_flight) == (20, 0)
    assert len(values) == 20


def test_a_stream_may_go_on_after_it_ran_dry(farm: Farm) -> None:
    with farm.stream(abs) as stream:
        stream.submit(-1)
        assert [o.result() for o in stream] == [1]
        stream.submit(-2)
        assert [o.result() for o in stream] == [2]


def test_a_task_of_a_stream_may_be_named(farm: Farm) -> None:
    with farm.stream(abs) as stream:
        assert stream.submit(-1, key="first") == "first"
        assert [o.key for o in stream] == ["first"]
        with pytest.raises(RequestError, match="cannot name two tasks 'first'"):
            stream.submit(-1, key="first")


def test_in_flight_counts_what_the_driver_has_not_seen(farm: Farm) -> None:
    with farm.stream(abs) as stream:
        stream.submit_all([1, 2, 3])
        assert stream.in_flight == 3
        next(stream)
        assert stream.in_flight == 2
        list(stream)


def test_a_cancelled_stream_frees_its_slots(farm: Farm) -> None:
    stream = farm.stream(lambda _: time.sleep(600))
    stream.submit_all(range(5))
    stream.cancel()
    assert list(stream) == []
    assert [o.result() for o in farm.map(abs, [-1])] == [1]
    with pytest.raises(RequestError, match="it is closed"):
        stream.submit(1)


def submit_until_refused(stream: Stream) -> None:
    """Go on submitting; with back-pressure, the first submission waits for room."""
    while True:
        stream.submit(60)
        time.sleep(0.01)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("most_in_flight", [None, 1])
def test_a_stream_takes_no_task_once_its_farm_has_broken(most_in_flight: int | None) -> None:
    with Farm(slots=1) as farm:
        stream = farm.stream(time.sleep, most_in_flight=most_in_flight)
        stream.submit(60)
        os.kill(farm.process_ids["scheduler"], signal.SIGKILL)
        with pytest.raises(BrokenFarmError, match="cannot submit to stream 'sleep': its farm"):
            submit_until_refused(stream)
