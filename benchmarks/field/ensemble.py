"""libEnsemble: a manager and two local workers; a generator on the manager makes streams."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.field.entrant import SLOTS, Entrant, Function

History = npt.NDArray[Any]


def _evaluate(history: History, _: Any, specs: dict[str, Any]) -> History:
    out = np.zeros(1, dtype=specs["out"])
    specs["user"]["function"](history["x"][0].item())
    return out


def _breed(_: Any, __: Any, specs: dict[str, Any], info: dict[str, Any]) -> tuple[None, Any, int]:
    """Give out as many points as have come back, until none is left."""
    from libensemble.message_numbers import (
        EVAL_GEN_TAG,
        FINISHED_PERSISTENT_GEN_TAG,
        PERSIS_STOP,
        STOP_TAG,
    )
    from libensemble.tools.persistent_support import PersistentSupport

    support = PersistentSupport(info, EVAL_GEN_TAG)
    inputs, count, given = specs["user"]["inputs"], specs["user"]["width"], 0
    tag = None
    while tag not in (STOP_TAG, PERSIS_STOP) and given < len(inputs):
        points = inputs[given : given + count]
        given += len(points)
        out = np.zeros(len(points), dtype=specs["out"])
        out["x"] = points
        tag, _work, back = support.send_recv(out)
        count = 0 if back is None else len(back)
    while tag not in (STOP_TAG, PERSIS_STOP):
        tag, _work, back = support.recv()
    return None, None, FINISHED_PERSISTENT_GEN_TAG


@contextlib.contextmanager
def libensemble() -> Iterator[Entrant]:
    """`libE` with local workers; its own start is not counted: the clock is its history's."""
    with tempfile.TemporaryDirectory() as base, contextlib.chdir(base):
        yield Entrant(bulk=_bulk, stream=_stream)


def _bulk(function: Function, inputs: Sequence[Any], /) -> float:
    from libensemble.alloc_funcs.give_pregenerated_work import give_pregenerated_sim_work

    points = np.zeros(len(inputs), dtype=[("x", float), ("sim_id", int)])
    points["x"] = inputs
    points["sim_id"] = range(len(inputs))
    return _run(
        function,
        len(inputs),
        gen_specs={},
        alloc_specs={"alloc_f": give_pregenerated_sim_work},
        H0=points,
    )


def _stream(function: Function, inputs: Sequence[Any], /, *, width: int) -> float:
    from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens

    generator = {
        "gen_f": _breed,
        "persis_in": ["sim_id"],
        "out": [("x", float)],
        "user": {"inputs": inputs, "width": width},
    }
    return _run(
        function,
        len(inputs),
        gen_specs=generator,
        alloc_specs={"alloc_f": only_persistent_gens, "user": {"async_return": True}},
    )


def _run(function: Function, count: int, **more: Any) -> float:
    from libensemble.libE import libE

    history, _, flag = libE(
        {
            "sim_f": _evaluate,
            "in": ["x"],
            "out": [("f", float)],
            "user": {"function": function},
        },
        exit_criteria={"sim_max": count},
        libE_specs={
            "comms": "local",
            "nworkers": SLOTS,
            "gen_on_manager": True,
            "disable_log_files": True,
            "disable_resource_manager": True,
            "save_H_and_persis_on_abort": False,
        },
        **more,
    )
    done = history[history["sim_ended"]]
    if flag or len(done) != count:
        raise RuntimeError(f"{len(done)} outcomes instead of {count}")
    return float(done["sim_ended_time"].max() - done["sim_started_time"].min())
