"""What the environment says of the allocation we are in: the one reader of such variables."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcflow.batch.machine import BatchSystemName
from hpcflow.core.resources import CPU, GPU
from hpcflow.errors import RequestError

_DEVICES = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
)
# Of a process among the step's, from srun(1) and from jsrun; the first that is set counts.
_RANK = ("SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK")
_LOCAL_RANK = ("SLURM_LOCALID", "JSM_NAMESPACE_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A batch job, as one of its processes sees it."""

    run: Path | None = None
    """Run directory of the batch script that started us; a driver in it joins that farm."""
    system: BatchSystemName | None = None
    """None outside a batch job, and in one that runs locally."""
    job: str | None = None
    """The batch job's id."""
    slots: dict[str, int] | None = None
    """Slots of the farm by pool (`gpu`, `cpu`), as the batch script says."""
    shards: int = 1
    """Dask schedulers that share the farm's workers."""
    ends_at: float | None = None
    """When the wall time is over [s since the epoch], where that is known."""
    scratch: Path | None = None
    """Node-local directory for scratch files."""
    login: str | None = None
    """The host where the batch job was submitted, where the batch system says so."""
    node: int | None = None
    """Position in the allocation of our node, where the launcher says so."""
    node_name: str = ""
    """Name of our node: Slurm's, which tells virtual nodes of one host apart, or the host's."""
    rank: int | None = None
    """Our position among the processes of our step."""
    local_rank: int | None = None
    """Our position among those on our node."""
    device_variable: str | None = None
    """The variable that names our devices, where the launcher sets one."""
    devices: tuple[str, ...] | None = None
    """Devices that the launcher gave us; None if it said nothing, empty if it gave none."""

    @property
    def workers(self) -> int:
        """Workers of one scheduler at most: one for each slot."""
        return max(1, -(-sum((self.slots or {}).values()) // self.shards))


def read_allocation(environment: Mapping[str, str] | None = None) -> Allocation:
    """Return the allocation that an environment describes; by default this process's.

    Raises
    ------
    RequestError
        If it does not say how many slots there are.

    Examples
    --------
    >>> read_allocation({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}).devices
    ('0', '1')
    """
    given = os.environ if environment is None else environment
    system: BatchSystemName | None = None
    if "SLURM_JOB_ID" in given:
        system = "slurm"
    elif "LSB_JOBID" in given:
        system = "lsf"
    variable = next((name for name in _DEVICES if name in given), None)
    names = given.get("SLURM_STEP_GPUS" if variable is None else variable)
    return Allocation(
        run=_path(given, "HPCFLOW_RUN"),
        system=system,
        job=given.get("HPCFLOW_JOB") or given.get("SLURM_JOB_ID") or given.get("LSB_JOBID"),
        slots=_slots(given.get("HPCFLOW_SLOTS", "")),
        shards=_first_number(given, ("HPCFLOW_SHARDS",)) or 1,
        ends_at=_first_number(given, ("SLURM_JOB_END_TIME", "HPCFLOW_ENDS_AT")),
        scratch=_path(given, "HPCFLOW_SCRATCH"),
        login=given.get("SLURM_SUBMIT_HOST") or given.get("LSB_SUB_HOST"),
        node=_first_number(given, ("SLURM_NODEID",)),
        node_name=given.get("SLURMD_NODENAME") or socket.gethostname(),
        rank=_first_number(given, _RANK),
        local_rank=_first_number(given, _LOCAL_RANK),
        device_variable=variable,
        devices=None if names is None else _devices(names),
    )


def _path(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]) if given.get(name) else None


def _first_number(given: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    texts = (given[name] for name in names if given.get(name, "").isdecimal())
    return next((int(text) for text in texts), None)


def _slots(text: str) -> dict[str, int] | None:
    """Return the slots of each pool of a list such as `gpu:8,cpu:4`."""
    pairs = [entry.partition(":") for entry in text.split(",") if entry]
    if not all(pool in {CPU, GPU} and count.isdecimal() for pool, _, count in pairs):
        raise RequestError(
            f"cannot use HPCFLOW_SLOTS={text!r}: it is the number of slots of each pool, such as"
            " gpu:8,cpu:4. Correct it in the batch script."
        )
    return {pool: int(count) for pool, _, count in pairs} or None


def _devices(text: str) -> tuple[str, ...]:
    """Return the devices of a list such as `0,1` or of UUIDs; Slurm says NoDevFiles for none."""
    names = (name.strip() for name in text.split(","))
    return tuple(name for name in names if name not in {"", "-1", "NoDevFiles"})
