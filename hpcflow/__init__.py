"""hpcflow: a Dask-distributed HPC task farm for large ensembles.

One function and one loop; the same driver runs on a laptop and on an allocation.

    from hpcflow import Farm

    with Farm(run="runs/first") as farm:
        for outcome in farm.map(simulate, replicas):
            print(outcome.key, outcome.value)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcflow.core.task import Cause, Failed, Lost, Succeeded
    from hpcflow.errors import (
        BrokenFarmError,
        FarmError,
        HpcflowError,
        JournalError,
        RequestError,
        TaskError,
    )
    from hpcflow.farm.context import current_task, preloaded
    from hpcflow.farm.farm import Farm

__version__ = "0.1.0"
__all__ = [
    "BrokenFarmError",
    "Cause",
    "Failed",
    "Farm",
    "FarmError",
    "HpcflowError",
    "JournalError",
    "Lost",
    "RequestError",
    "Succeeded",
    "TaskError",
    "current_task",
    "preloaded",
]

_HOMES = {
    "BrokenFarmError": "hpcflow.errors",
    "Cause": "hpcflow.core.task",
    "Failed": "hpcflow.core.task",
    "Farm": "hpcflow.farm.farm",
    "FarmError": "hpcflow.errors",
    "HpcflowError": "hpcflow.errors",
    "JournalError": "hpcflow.errors",
    "Lost": "hpcflow.core.task",
    "RequestError": "hpcflow.errors",
    "Succeeded": "hpcflow.core.task",
    "TaskError": "hpcflow.errors",
    "current_task": "hpcflow.farm.context",
    "preloaded": "hpcflow.farm.context",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a runner needs no Dask."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hpcflow' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
