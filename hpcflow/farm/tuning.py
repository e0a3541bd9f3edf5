"""Dask's settings for a farm: data in `configs/dask`, fitted to its number of workers.

What the user has set wins, value by value: in Dask's configuration files, by `DASK_` variables, or
with `dask.config.set` in the driver. A driver's own configuration is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import msgspec
from distributed import Client, Security
from distributed.client import ensure_default_client

from hpcflow.farm.modules import driver_path, find_modules

SETTINGS = Path(__file__).parents[1] / "configs" / "dask"
"""Where the settings are."""
_BY_SIZE = ("laptop", "large")


class _Time(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """A time that grows with the farm [s]."""

    base: float
    per_worker: float


class _Derived(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"
):
    """What a file says to hpcflow alone."""

    times: dict[str, _Time]
    most_workers: int | None = None
    """The largest farm that the file is for; None for any."""


def tuned(workers: int) -> dict[str, Any]:
    """Return Dask's settings for a farm, by dotted name, whatever the user has set.

    Parameters
    ----------
    workers
        Workers of one scheduler, or an upper bound: times grow with it.
    """
    for name in _BY_SIZE:
        content = dict(*dask.config.collect_yaml([str(SETTINGS / f"{name}.yaml")]))
        derived = msgspec.convert(content.pop("hpcflow"), _Derived)
        if derived.most_workers is None or workers <= derived.most_workers:
            times = {
                key: f"{time.base + time.per_worker * workers:.0f}s"
                for key, time in derived.times.items()
            }
            return dict(_leaves(content)) | times
    raise AssertionError("the last file is for any farm")


def settings(workers: int) -> dict[str, Any]:
    """Return what hpcflow sets for a farm: `tuned`, but for what the user has set.

    Parameters
    ----------
    workers
        Workers of one scheduler, or an upper bound.
    """
    wanted = tuned(workers)
    own = _users(wanted)
    return {key: value for key, value in wanted.items() if key not in own}


def inherited(workers: int) -> dict[str, str]:
    """Return the variables by which processes that a driver starts get what the user has set in it.

    Configuration files and `DASK_` variables reach them anyway; `dask.config.set` does not.

    Parameters
    ----------
    workers
        Workers of one scheduler, or an upper bound.
    """
    return {
        f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": repr(value)
        for key, value in _users(tuned(workers)).items()
    }


def make_client(
    address: str, security: Security, *, workers: int, timeout_s: float | None = None
) -> Client:
    """Return a client of a farm's scheduler.

    Dask reads its settings while it is made; afterwards the driver's configuration is as before.
    Where the driver has no default client, it is the one: Dask's `as_completed` asks for that.

    Parameters
    ----------
    address
        Where the scheduler listens.
    security
        The farm's credentials.
    workers
        Workers of the scheduler, or an upper bound.
    timeout_s
        Longest wait for an answer [s]; as tuned if None.

    Raises
    ------
    OSError
        If the scheduler cannot be reached.
    """
    with dask.config.set(settings(workers)):
        options = {} if timeout_s is None else {"timeout": timeout_s}
        client = Client(address, security=security, set_as_default=False, **options)
    try:
        Client.current()
    except ValueError:
        ensure_default_client(client)
    try:
        client.run_on_scheduler(find_modules, driver_path())  # plain Dask tasks are opened there
    except OSError:
        client.close()
        raise
    return client


def _users(keys: Iterable[str]) -> dict[str, Any]:
    """Return the user's own values among the settings of those names.

    A value is the user's if it stands in a configuration file or a `DASK_` variable, whatever it
    is, or if it differs from Dask's default: then the driver has set it. (A driver that sets the
    default itself leaves no trace.)
    """
    files = dask.config.collect_yaml(dask.config.paths)
    stated = dask.config.merge(*files, dask.config.collect_env())
    defaults = dask.config.merge(*dask.config.defaults)
    own = {}
    for key in keys:
        value = dask.config.get(key, default=None)
        if _has(stated, key) or value != dask.config.get(key, default=None, config=defaults):
            own[key] = value
    return own


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _has(tree: dict[str, Any], key: str) -> bool:
    unset = object()
    return dask.config.get(key, default=unset, config=tree) is not unset
