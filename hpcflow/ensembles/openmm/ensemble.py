"""Drive replicas on a farm, segment after segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hpcflow.core.task import AnyOutcome, Succeeded
from hpcflow.ensembles.ensemble import FarmOptions
from hpcflow.ensembles.openmm.checks import check_options, with_digests
from hpcflow.ensembles.openmm.configuration import OpenMMConfiguration, plan_of, resolved
from hpcflow.ensembles.openmm.records import SegmentRequest
from hpcflow.ensembles.openmm.summary import rows_of, tally_of
from hpcflow.errors import RequestError

if TYPE_CHECKING:
    from hpcflow.ensembles.openmm.build import Built
    from hpcflow.farm.farm import Farm
    from hpcflow.farm.flow import Stream

STAGE = "segments"


class OpenMMEnsemble:
    """Replicas of one System at one or more temperatures, simulated in segments.

    A replica's next segment is submitted when the last is recorded, and starts from its final
    state. A segment that does not succeed ends its replica, and no other.
    """

    def __init__(self, configuration: OpenMMConfiguration) -> None:
        self._configuration = configuration
        self._plan = plan_of(configuration)
        self._built: Built | None = None

    @classmethod
    def from_configuration(cls, configuration: OpenMMConfiguration, base: Path) -> OpenMMEnsemble:
        """Return the ensemble of a configuration whose paths are relative to `base`.

        Raises
        ------
        RequestError
            If its lengths or temperatures make no plan.
        """
        return cls(resolved(configuration, base))

    def check(self) -> None:
        """Read the input files and build the System.

        Raises
        ------
        RequestError
            If a file is missing or was changed since the run began, options contradict each other,
            OpenMM is not installed, or it refuses the input.
        """
        check_options(self._configuration)
        with_digests(self._configuration.input)
        self._build()

    def describe(self) -> dict[str, Any]:
        """Return the configuration with absolute paths and the digests of the input files.

        Raises
        ------
        RequestError
            If an input file cannot be read or was changed since the run began.
        """
        pinned = with_digests(self._configuration.input)
        described = msgspec.structs.replace(self._configuration, input=pinned)
        mapping: dict[str, Any] = _without_none(msgspec.to_builtins(described))
        return mapping

    @property
    def total(self) -> int:
        """Number of segments of all replicas."""
        return len(self._plan.temperatures_k) * self._plan.segments

    def run(self, farm: Farm, options: FarmOptions) -> Iterator[AnyOutcome]:
        """Simulate on `farm`; yield each segment's outcome as it comes.

        Raises
        ------
        RequestError
            If the farm keeps no run, or the System cannot be built.
        JournalError
            If the System cannot be written into the run directory.
        """
        # OpenMM is imported where it is used, as in `_build`: the package is light without it.
        from hpcflow.ensembles.openmm.prepared import SYSTEM_DIRECTORY, keep
        from hpcflow.ensembles.openmm.task import PRELOAD, load_system, simulate

        system = _directory(farm) / SYSTEM_DIRECTORY
        keep(self._build, system)
        self._built = None  # it may be large, and only runners need it from here on
        farm.preload(PRELOAD, load_system, str(system), self._configuration.platform)
        with farm.stream(
            simulate, stage=STAGE, retries=options.retries, time_limit_s=options.time_limit_s
        ) as stream:
            for replica in range(len(self._plan.temperatures_k)):
                stream.submit(self._request(replica), key=_key(replica, 0))
            for outcome in stream:
                # Before the caller sees it: however slow the caller is, the slot has work.
                if isinstance(outcome, Succeeded):
                    self._continue(stream, outcome.value)
                yield outcome

    def summary(self, outcomes: Sequence[AnyOutcome], *, held_s: float) -> list[tuple[str, str]]:
        """Return rows on replicas, simulated time, speed and the ends of the temperatures."""
        return rows_of(self._plan, tally_of(self._plan, outcomes, held_s=held_s))

    def _continue(self, stream: Stream, record: dict[str, Any]) -> None:
        """Submit the segment after the recorded one, unless that was its replica's last."""
        replica, segment = record["replica"], record["segment"] + 1
        if segment < self._plan.segments:
            stream.submit(self._request(replica, after=record), key=_key(replica, segment))

    def _request(self, replica: int, after: dict[str, Any] | None = None) -> SegmentRequest:
        """Return what a replica simulates first, or after the segment of the given record."""
        configuration, plan = self._configuration, self._plan
        return SegmentRequest(
            replica=replica,
            segment=0 if after is None else after["segment"] + 1,
            temperature_k=plan.temperatures_k[replica],
            friction_per_ps=configuration.thermostat.friction_per_ps,
            timestep_fs=configuration.segments.timestep_fs,
            steps=plan.steps,
            report_steps=plan.report_steps,
            minimize=configuration.segments.minimize,
            equilibration_steps=plan.equilibration_steps,
            trajectory=configuration.output.trajectory,
            prior=None if after is None else after["files"]["final_state"],
        )

    def _build(self) -> Built:
        if self._built is None:
            try:
                from hpcflow.ensembles.openmm.build import build
            except ModuleNotFoundError as error:
                if error.name != "openmm":
                    raise
                raise RequestError(
                    "cannot run an OpenMM ensemble: OpenMM is not installed here. Install it by"
                    " `pip install 'hpcflow[openmm]'`."
                ) from None
            self._built = build(self._configuration)
        return self._built


def _directory(farm: Farm) -> Path:
    if farm.directory is None:
        raise RequestError(
            "cannot run an OpenMM ensemble on a farm without a run: segments start from files in"
            " the run directory. Open the farm with Farm(run=...)."
        )
    return farm.directory.path.absolute()


def _key(replica: int, segment: int) -> str:
    return f"r{replica:03d}-s{segment:03d}"


def _without_none(value: Any) -> Any:
    """Leave out what is not set: TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
