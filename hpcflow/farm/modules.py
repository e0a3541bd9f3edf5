"""Where the farm's processes look for modules: also where the driver does.

Runners look exactly where the driver does. Scheduler and workers need none of the user's modules
for the farm's own tasks; but the driver may give plain Dask tasks to the farm's client, and those
are opened there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def driver_path() -> list[str]:
    """Return where this process looks for modules, as other processes can use it."""
    return [str(Path(entry).absolute()) for entry in sys.path]


def find_modules(path: Sequence[str]) -> None:
    """Look for modules in further places, after all others."""
    sys.path.extend(entry for entry in path if entry not in sys.path)
