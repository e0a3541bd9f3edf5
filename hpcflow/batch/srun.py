"""Slurm's step launcher."""

from __future__ import annotations

from hpcflow.batch.step import Launch, Step


class Srun:
    """Starts steps with `srun`, all free to use any core of their nodes.

    Options as in srun(1). `--overlap` lets steps share nodes, and `--no-kill` lets a step outlive
    a node of its own. Without `--cpus-per-task`, which implies `--exact` since Slurm 22.05, a step
    may use every core that the batch job has there. Workers bind their runners themselves.
    """

    exclusive = False
    places_in_order = False
    script_on_first_node = True
    # To kill srun would kill its processes at once; this lets them end in order.
    end_steps = 'scancel --quiet --signal=TERM "$SLURM_JOB_ID"'

    def __init__(self, *, machine_has_gpus: bool) -> None:
        self._machine_has_gpus = machine_has_gpus  # without, the option may be unknown there

    def launch(self, step: Step) -> Launch:
        """Return an `srun` command line."""
        return Launch(
            words=(
                "srun",
                "--overlap",
                "--no-kill",
                f"--nodes={step.nodes}",
                f"--ntasks={step.nodes * step.processes}",
                f"--ntasks-per-node={step.processes}",
                f"--relative={step.first_node}",
                "--cpu-bind=none",
                "--mem=0",
                *((f"--gpus-per-node={step.gpus}",) if self._machine_has_gpus else ()),
            )
        )
