"""Slurm's step launcher."""

from __future__ import annotations

from hpcflow.batch.step import Launch, Step


class Srun:
    """Starts steps with `srun`, all free to use any core of their nodes.

    Options as in srun(1). `--overlap` lets steps share nodes; without `--cpus-per-task`, which
    implies `--exact` since Slurm 22.05, a step may use every core that the batch job has there.
    Workers bind their runners themselves.
    """

    exclusive = False
    places_in_order = False
    script_on_first_node = True

    def launch(self, step: Step) -> Launch:
        """Return an `srun` command line."""
        gpus = step.gpus if step.processes == 1 else step.gpus * step.processes
        return Launch(
            words=(
                "srun",
                "--overlap",
                f"--nodes={step.nodes}",
                f"--ntasks={step.nodes * step.processes}",
                f"--ntasks-per-node={step.processes}",
                f"--relative={step.first_node}",
                "--cpu-bind=none",
                "--mem=0",
                *((f"--gpus-per-node={gpus}",) if gpus else ("--gres=none",)),
            )
        )
