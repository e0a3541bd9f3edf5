"""What a runner does for an OpenMM ensemble: load the System once, then simulate segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from hpcflow.ensembles.openmm.configuration import PlatformOptions
from hpcflow.ensembles.openmm.platform import choose_platform, properties_of
from hpcflow.ensembles.openmm.prepared import Prepared, load_prepared
from hpcflow.ensembles.openmm.records import SegmentRequest
from hpcflow.ensembles.openmm.segment import Resources, run_segment
from hpcflow.errors import RequestError
from hpcflow.farm.context import current_task, preloaded

PRELOAD = "openmm-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a runner keeps between segments."""

    prepared: Prepared
    platform: str
    precision: str


def load_system(directory: str, options: PlatformOptions) -> Loaded:
    """Read the run's System and choose the platform for this slot: the runner's preload."""
    prepared = load_prepared(directory)
    platform = choose_platform(options, prepared.system)
    return Loaded(prepared=prepared, platform=platform, precision=options.precision)


def simulate(request: SegmentRequest) -> dict[str, Any]:
    """Simulate one segment as the current task; return its record, paths relative to the run."""
    task, loaded = current_task(), preloaded(PRELOAD)
    if task.run_directory is None:
        raise RequestError(
            f"cannot simulate segment {task.key!r}: a segment starts from a file in the run"
            " directory, and the farm has none. Open it with Farm(run=...)."
        )
    properties = properties_of(loaded.platform, precision=loaded.precision, threads=len(task.cores))
    record = run_segment(
        request,
        loaded.prepared,
        resources=Resources(
            platform=loaded.platform,
            properties=properties,
            directory=task.directory,
            seed=task.seed,
        ),
        prior=None if request.prior is None else task.run_directory / request.prior,
    )
    value: dict[str, Any] = msgspec.to_builtins(record)
    value["files"] = {
        what: str((task.directory / name).relative_to(task.run_directory))
        for what, name in value["files"].items()
    }
    return value
