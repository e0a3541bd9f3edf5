"""What a batch script tells its batch system: the directives at its head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from hpcflow.batch.request import Request


def directives_of(request: Request) -> Iterator[str]:
    """Yield the directives of a request, in the form of its machine's batch system."""
    system = request.machine.script_system
    match system:
        case "local":
            return
        case "slurm":
            yield from _slurm(request)
        case "lsf":
            yield from _lsf(request)
        case _:
            assert_never(system)


def _slurm(request: Request) -> Iterator[str]:
    machine = request.machine
    minutes, seconds = divmod(request.walltime_s, 60)
    yield f"#SBATCH --job-name={request.name}"
    if request.charged is not None:
        yield f"#SBATCH --account={request.charged}"
    yield f"#SBATCH --{machine.queue_option}={request.queue.name}"
    yield f"#SBATCH --nodes={request.nodes}"
    yield f"#SBATCH --time={minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    yield "#SBATCH --exclusive"
    yield "#SBATCH --mem=0"
    yield "#SBATCH --no-kill"  # a node that fails takes its slots along, and no more
    if machine.nodes.gpus:
        yield f"#SBATCH --gpus-per-node={machine.nodes.gpus}"
    yield f"#SBATCH --output={request.log}-%j.log"
    yield from (f"#SBATCH {option}" for option in machine.batch_options)


def _lsf(request: Request) -> Iterator[str]:
    minutes = -(-request.walltime_s // 60)
    if request.charged is not None:
        yield f"#BSUB -P {request.charged}"
    yield f"#BSUB -W {minutes // 60}:{minutes % 60:02}"
    yield f"#BSUB -nnodes {request.nodes}"
    yield f"#BSUB -q {request.queue.name}"
    yield f"#BSUB -J {request.name}"
    yield f"#BSUB -o {request.log}-%J.log"
    yield from (f"#BSUB {option}" for option in request.machine.batch_options)
