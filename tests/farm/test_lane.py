from __future__ import annotations

from collections.abc import Iterator

import pytest

from hpcflow import Farm

RECORD, PART = 1 << 14, 1 << 18


@pytest.fixture(scope="module", params=[False, True], ids=["TLS", "insecure"])
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    with Farm(slots=2, insecure=request.param) as farm:
        yield farm


def _ends(blob: bytes) -> tuple[int, bytes, bytes]:
    return len(blob), blob[:3], blob


@pytest.mark.parametrize("size", [0, RECORD - 1, RECORD, PART - 1, PART, PART + 1, 3 * PART + 7])
def test_values_of_every_size_arrive_whole_among_small_ones(farm: Farm, size: int) -> None:
    sizes = [1, size, 2, size + 100, 3, size]
    blobs = [bytes([number]) * each for number, each in enumerate(sizes)]
    found = {
        int(outcome.key.partition("-")[0]): outcome.result() for outcome in farm.map(_ends, blobs)
    }
    assert found == {position: _ends(blob) for position, blob in enumerate(blobs)}
