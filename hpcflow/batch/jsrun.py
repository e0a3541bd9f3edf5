"""The step launcher of IBM's Job Step Manager (Summit)."""

from __future__ import annotations

from collections.abc import Iterator

from hpcflow.batch.step import END_BY_SIGNAL, Launch, Step


class Jsrun:
    """Starts steps with `jsrun`, each in resource sets of its own.

    Options as in the Summit User Guide, "Job Launcher (jsrun)": a resource set is a share of one
    node's cores and GPUs, on the first node where it fits, and belongs to one step.
    `--smpiargs off` is for programs without MPI.
    """

    exclusive = True
    places_in_order = True
    script_on_first_node = False  # it runs on a launch node, which many users share
    end_steps = END_BY_SIGNAL

    def launch(self, step: Step) -> Launch:
        """Return a `jsrun` command line."""
        return Launch(
            words=(
                "jsrun",
                *("--smpiargs", "off"),
                *("--nrs", str(step.nodes * step.processes)),
                *("--rs_per_host", str(step.processes)),
                *("--tasks_per_rs", "1"),
                *("--cpu_per_rs", str(step.cores)),
                *("--gpu_per_rs", str(step.gpus // step.processes)),
                *("--bind", "rs"),
            )
        )


class JsrunExplicit:
    """Starts steps with `jsrun` on the cores and GPUs that an explicit resource file names.

    Form of the file as RADICAL-Pilot writes it for Summit. Hosts count from 1; cores are logical
    ones, which with `smt1` are the physical ones that are not kept back, and which leaves out the
    shift on the second socket that the guide lists among its known issues.
    """

    exclusive = True
    places_in_order = False
    script_on_first_node = False
    end_steps = END_BY_SIGNAL

    def launch(self, step: Step) -> Launch:
        """Return lines that write the file, and a `jsrun` command line that reads it."""
        file = f'"$HPCFLOW_RUN/{step.name}.erf"'
        return Launch(
            words=("jsrun", "--smpiargs", "off"),
            prepare=tuple(_lines(step, file)),
            option=f"--erf_input {file}",
        )


def _lines(step: Step, file: str) -> Iterator[str]:
    first, last = step.first_node + 1, step.first_node + step.nodes
    yield "{"
    yield '    echo "cpu_index_using: logical"'
    yield f"    for host in {{{first}..{last}}}; do"
    for process in range(step.processes):
        core = step.first_core + process * step.cores
        each = step.gpus // step.processes
        gpus = f"; gpu: {{{_range(process * each, each)}}}" if each else ""
        rank = f"$(((host - {first}) * {step.processes} + {process}))"
        cpus = _range(core, step.cores)
        yield f'        echo "rank: {rank}: {{ host: $host; cpu: {{{cpus}}}{gpus} }}"'
    yield "    done"
    yield f"}} > {file}"


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
