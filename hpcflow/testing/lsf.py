"""A small LSF with jsrun: bsub, bjobs, bkill and jsrun as programs on PATH.

They take the flags that the real ones take and refuse others, run batch scripts and resource sets
as real processes of this machine, and give those the variables that the real ones give. What they
do not do: bind to cores, tell hosts apart, queue batch jobs, enforce wall times.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

_PROGRAMS = {
    "bsub": "hpcflow.testing.lsf_jobs",
    "bjobs": "hpcflow.testing.lsf_jobs",
    "bkill": "hpcflow.testing.lsf_jobs",
    "jsrun": "hpcflow.testing.lsf_steps",
}
STATE = "HPCFLOW_FAKE_LSF"
"""The variable that leads the programs to their state."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """What the fake cluster has."""

    hosts: int
    cores: int = 42
    """Cores of a host that jsrun may give away."""
    gpus: int = 6
    queues: tuple[str, ...] = ("batch", "debug", "killable")
    busy: int = 0
    """How many submissions are turned away for a while before one is taken."""


def install_lsf(
    directory: Path, cluster: Cluster, environment: Mapping[str, str]
) -> dict[str, str]:
    """Write the programs and their state, and return an environment in which they are found.

    Parameters
    ----------
    directory
        Where to put them: it must be empty or not exist.
    cluster
        What they have to give.
    environment
        What to add them to, such as `os.environ`.
    """
    programs, state = directory / "bin", directory / "state"
    for made in (programs, state / "jobs"):
        made.mkdir(parents=True)
    (state / "cluster.json").write_bytes(msgspec.json.encode(cluster))
    (state / "busy").write_text(str(cluster.busy))
    for name, module in _PROGRAMS.items():
        program = programs / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import {name}\n\n{name}()\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        **environment,
        "PATH": f"{programs}:{environment.get('PATH', '/usr/bin:/bin')}",
        STATE: str(state),
    }
