"""Which installations may work together: pickles and messages go between them.

Python counts by major and minor version, since functions travel as the bytecode of that version;
distributed and hpcflow count whole, since neither keeps its messages the same from one version to
the next. Who does not say what it has is of an hpcflow that did not ask yet: another one.
"""

from __future__ import annotations

import sys
from typing import Any

import distributed
import msgspec

import hpcflow
from hpcflow.farm.wire import Versions

_SHOWN = {"python": "Python", "distributed": "distributed", "hpcflow": "hpcflow"}


def own_versions() -> Versions:
    """Return what this process runs on."""
    return Versions(
        python="{}.{}".format(*sys.version_info[:2]),
        distributed=distributed.__version__,  # type: ignore[attr-defined]
        hpcflow=hpcflow.__version__,
    )


def read_versions(told: Any) -> Versions | None:
    """Return what another process says that it runs on; None if it does not."""
    try:
        return msgspec.convert(told, Versions)
    except msgspec.ValidationError:
        return None


def mismatch(
    worker: Versions | None, peer: Versions | None, *, who: str, peer_name: str
) -> str | None:
    r"""Return why a worker must be refused, or None.

    Parameters
    ----------
    worker
        What it runs on; None if it does not say.
    peer
        What that runs on for which it would work; None if it does not say.
    who
        What to call the worker.
    peer_name
        What to call the other.

    Examples
    --------
    >>> ours = Versions(python="3.12", distributed="2026.8.0", hpcflow="1.0")
    >>> theirs = Versions(python="3.11", distributed="2026.8.0", hpcflow="1.1")
    >>> reason = mismatch(theirs, ours, who="worker n1", peer_name="its scheduler")
    >>> print(*reason.partition(", and ")[::2], sep="\n")
    cannot use worker n1: it has Python 3.11 and hpcflow 1.1
    its scheduler has Python 3.12 and hpcflow 1.0. Start both from one environment.
    """
    if worker == peer and worker is not None:
        return None
    different = [
        name
        for name in _SHOWN
        if worker is None or peer is None or getattr(worker, name) != getattr(peer, name)
    ]
    silent = "another hpcflow, which does not say its versions"
    has = silent if worker is None else _words(worker, different)
    wants = silent if peer is None else _words(peer, different)
    return (
        f"cannot use {who}: it has {has}, and {peer_name} has {wants}. Start both from one"
        " environment."
    )


def refuse_silent(who: str, *, peer_name: str) -> str:
    """Return why this process cannot work for one that does not say its versions."""
    reason = mismatch(own_versions(), None, who=who, peer_name=peer_name)
    assert reason is not None, "who does not say it has another"
    return reason


def _words(versions: Versions, names: list[str]) -> str:
    return " and ".join(f"{_SHOWN[name]} {getattr(versions, name)}" for name in names)
