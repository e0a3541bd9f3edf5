"""What runners' answers and deaths mean to the dispatcher."""

from __future__ import annotations

import time
from array import array

import msgspec

from hpcflow.core.stimulus import Failure, Leave, Return
from hpcflow.core.task import Cause, ErrorText
from hpcflow.farm.transport import DiskFull
from hpcflow.farm.wire import STORAGE, Death, Result


def returned(slot: str, blob: bytes) -> Return | DiskFull:
    """Return what a `Result` that a slot's runner has sent comes to."""
    result = _results.decode(blob)
    for wreck in result.wrecks.values():
        if wreck.cause == STORAGE:
            return DiskFull(wreck.message)
    laps = array("d")
    laps.frombytes(result.laps)
    times = laps.tolist()
    return Return(
        slot=slot,
        chunk=result.chunk,
        values=result.values,
        started=times[:-1],
        finished=times[1:],
        failures={
            index: Failure(
                cause=Cause(wreck.cause),
                error=ErrorText(
                    type=wreck.type,
                    message=wreck.message,
                    traceback=wreck.traceback,
                    pickled=wreck.pickled,
                ),
                started=times[index],
                finished=times[index + 1],
            )
            for index, wreck in result.wrecks.items()
        },
        stored={**result.pickles, **result.payloads},
    )


_results = msgspec.msgpack.Decoder(Result)
_DEATHS = {
    Cause.SIGNAL: "RunnerKilled",
    Cause.EXIT: "RunnerExited",
    Cause.TIME_LIMIT: "TimeLimitExceeded",
}


def left(slot: str, death: Death) -> Leave:
    """Return what the end of a slot's runner comes to: which task is to blame, if one is."""
    now, culprit = time.time(), death.culprit
    if death.on_request or culprit is None:
        return Leave(slot=slot, reason=death.reason, at=now, on_request=death.on_request)
    cause = Cause(culprit.cause)
    error = ErrorText(type=_DEATHS[cause], message=culprit.message, traceback=culprit.traceback)
    return Leave(
        slot=slot,
        reason=death.reason,
        at=now,
        chunk=culprit.chunk,
        index=culprit.index,
        failure=Failure(
            cause=cause, error=error, started=culprit.started, finished=culprit.finished
        ),
    )
