"""The environment of a batch job, as its launchers set it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hpcflow.batch.allocation import Allocation, read_allocation
from hpcflow.errors import RequestError


def test_outside_a_batch_job_only_the_hosts_name_is_known() -> None:
    seen = read_allocation({"PATH": "/bin", "HOME": "/root"})
    assert seen == Allocation(node_name=socket.gethostname())


def test_a_slurm_step_says_node_rank_and_devices() -> None:
    seen = read_allocation(
        {
            "SLURM_JOB_ID": "17",
            "SLURM_NODEID": "3",
            "SLURMD_NODENAME": "node4",
            "SLURM_PROCID": "7",
            "SLURM_LOCALID": "1",
            "SLURM_JOB_END_TIME": "1795193456",
            "HPCFLOW_ENDS_AT": "1",
            "HPCFLOW_RUN": "/runs/a",
            "HPCFLOW_SCRATCH": "/mnt/bb/me",
            "ROCR_VISIBLE_DEVICES": "0,1",
        }
    )
    assert seen == Allocation(
        run=Path("/runs/a"),
        system="slurm",
        job="17",
        ends_at=1795193456,
        scratch=Path("/mnt/bb/me"),
        node=3,
        node_name="node4",
        rank=7,
        local_rank=1,
        device_variable="ROCR_VISIBLE_DEVICES",
        devices=("0", "1"),
    )


def test_a_jsrun_step_says_rank_and_devices_and_the_script_when_it_ends() -> None:
    seen = read_allocation(
        {
            "LSB_JOBID": "99",
            "JSM_NAMESPACE_RANK": "12",
            "OMPI_COMM_WORLD_LOCAL_RANK": "0",
            "HPCFLOW_ENDS_AT": "1795193000",
            "CUDA_VISIBLE_DEVICES": "4",
        }
    )
    assert (seen.system, seen.job, seen.rank, seen.local_rank) == ("lsf", "99", 12, 0)
    assert (seen.devices, seen.ends_at, seen.node) == (("4",), 1795193000, None)


@pytest.mark.parametrize("text", ["", "-1", "NoDevFiles"])
def test_a_launcher_may_give_no_device(text: str) -> None:
    assert read_allocation({"CUDA_VISIBLE_DEVICES": text}).devices == ()


@pytest.mark.parametrize("text", ["gpu", "gpu:", "gpu:-1", "tpu:4", "gpu:8,cpu:x"])
def test_a_script_that_does_not_say_how_many_slots_there_are_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="cannot use HPCFLOW_SLOTS="):
        read_allocation({"HPCFLOW_SLOTS": text})
