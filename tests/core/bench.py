"""A dispatcher on the bench: tasks, answers and losses are made here, chunks are read back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hpcflow.core.dispatch import Dispatch
from hpcflow.core.instruction import (
    Chunk,
    Finish,
    Instruction,
    Kill,
    Send,
    Settle,
    SettleFailure,
    Verdict,
)
from hpcflow.core.stimulus import (
    Exhaust,
    Failure,
    Join,
    Leave,
    Offer,
    Open,
    Policy,
    Return,
    Stimulus,
    Task,
)
from hpcflow.core.task import Cause, ErrorText


def failure(cause: Cause = Cause.EXCEPTION) -> Failure:
    error = ErrorText(type="ValueError", message="no force field", traceback="Traceback")
    return Failure(cause=cause, error=error, started=0.0, finished=1.0)


def tasks(stage: str, keys: Collection[str], payload: bytes = b"") -> list[Task]:
    return [Task(stage, key, payload, 0.0) for key in keys]


def returned(
    slot: str,
    chunk: int,
    count: int,
    *,
    each_s: float = 0.001,
    failures: Mapping[int, Failure] | None = None,
    stored: Mapping[int, Any] | None = None,
) -> Return:
    """Return the answer for the next `count` tasks of a chunk; values are their numbers."""
    return Return(
        slot=slot,
        chunk=chunk,
        values=list(range(count)),
        started=[i * each_s for i in range(count)],
        finished=[(i + 1) * each_s for i in range(count)],
        failures=failures or {},
        stored=stored or {},
    )


class Bench:
    """Drives a `Dispatch`, and keeps the chunks that it has sent and not had back."""

    def __init__(self, *slots: str) -> None:
        self.dispatch = Dispatch()
        self.held: dict[str, list[Chunk]] = {}
        self.join(*slots)

    def do(self, stimulus: Stimulus) -> list[Instruction]:
        instructions = self.dispatch.handle(stimulus)
        for instruction in instructions:
            if isinstance(instruction, Send):
                self.held[instruction.slot].append(instruction.chunk)
        return instructions

    def join(self, *slots: str) -> list[Instruction]:
        done = []
        for slot in slots:
            self.held[slot] = []
            done += self.do(Join(slot))
        return done

    def stage(self, name: str = "s", **policy: Any) -> None:
        self.do(Open(name, Policy(**policy)))

    def offer(self, *keys: str, stage: str = "s", payload: bytes = b"") -> list[Instruction]:
        return self.do_offer(tasks(stage, keys, payload), stage=stage)

    def do_offer(self, offered: Sequence[Task], *, stage: str = "s") -> list[Instruction]:
        return self.do(Offer(stage, offered))

    def offer_many(self, count: int, *, stage: str = "s") -> list[Instruction]:
        return self.offer(*(f"{stage}{n}" for n in range(count)), stage=stage)

    def exhaust(self, stage: str = "s") -> list[Instruction]:
        return self.do(Exhaust(stage))

    def back(
        self, slot: str, *, each_s: float = 0.001, failed: Mapping[int, Failure] | None = None
    ) -> list[Instruction]:
        """Answer all of the first chunk that `slot` holds."""
        chunk = self.held[slot].pop(0)
        return self.do(
            returned(slot, chunk.number, len(chunk.tasks), each_s=each_s, failures=failed)
        )

    def lose(
        self,
        slot: str,
        *,
        chunk: int | None = None,
        index: int = 0,
        blame: Failure | None = None,
        on_request: bool = False,
    ) -> list[Instruction]:
        del self.held[slot]
        leave = Leave(
            slot=slot,
            reason="signal 9",
            at=1.0,
            chunk=chunk,
            index=index,
            failure=blame,
            on_request=on_request,
        )
        return self.do(leave)

    def learn(self, each_s: float, *, stage: str = "s") -> None:
        """Let the stage learn how long its tasks take, from one task."""
        self.offer("first", stage=stage)
        slot = next(slot for slot in self.held if self.on(slot) == [["first"]])
        self.back(slot, each_s=each_s)

    def on(self, slot: str) -> list[list[str]]:
        """Return the keys of each chunk on `slot`."""
        return [[task.key for task in chunk.tasks] for chunk in self.held[slot]]

    def all_held(self) -> list[str]:
        return sorted(key for slot in self.held for keys in self.on(slot) for key in keys)


def verdicts(instructions: list[Instruction]) -> list[tuple[str, int, Verdict]]:
    """Return key, attempt and verdict of each failure."""
    return [
        (one.task.key, one.attempt, one.verdict)
        for one in instructions
        if isinstance(one, SettleFailure)
    ]


def settled(instructions: list[Instruction]) -> list[str]:
    """Return the keys of the tasks that succeeded."""
    return [task.key for one in instructions if isinstance(one, Settle) for task in one.tasks]


def killed(instructions: list[Instruction]) -> list[tuple[str, int]]:
    return [(one.slot, one.chunk) for one in instructions if isinstance(one, Kill)]


def finished(instructions: list[Instruction]) -> list[str]:
    return [one.stage for one in instructions if isinstance(one, Finish)]
