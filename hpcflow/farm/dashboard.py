"""Dask's dashboard: on loopback where it is asked for, and how to look at it from elsewhere."""

from __future__ import annotations

import psutil

from hpcflow.journal.scheduler_file import SchedulerFile

LOOPBACK = "127.0.0.1"


def tunnel(port: int, *, node: str, through: str | None) -> str:
    """Return the command that brings a port of a node's loopback to the user's own machine.

    Parameters
    ----------
    port
        The port, there and here.
    node
        The node's name.
    through
        A host to go through, such as the login node; None to go straight.

    Examples
    --------
    >>> tunnel(40123, node="n7", through="login1").partition(" -J ")[2].split()[0]
    'login1'
    """
    jump = "" if through is None or through == node else f" -J {through}"
    user = psutil.Process().username()
    return f"ssh -N -L {port}:{LOOPBACK}:{port}{jump} {user}@{node}"


def announcement(scheduler: SchedulerFile) -> str | None:
    """Return what to tell people of a scheduler's dashboard; None where it is off."""
    if scheduler.dashboard is None:
        return None
    port = scheduler.dashboard.rpartition(":")[2]
    return (
        f"Dask's dashboard: http://localhost:{port}/status on {scheduler.node}, for users of"
        f" that host alone. From another machine, first: {scheduler.tunnel}"
    )
