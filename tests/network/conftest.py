"""Three hosts for the tests in this directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.network.hosts import Network, network


@pytest.fixture
def hosts() -> Iterator[Network]:
    """Connect `head`, `one` and `two`; where that cannot be done, skip, and in CI fail."""
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(network("head", "one", "two"))
        except OSError as error:
            reason = f"hosts of their own need root, iproute2 and network namespaces: {error}"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        yield made
