"""The ledger against its own definitions, looked up instant by instant."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.timing.ledger import Category, ledger_of
from tests.journals import Script


@dataclass(slots=True)
class Try:
    """One attempt, drawn as gaps and lengths, placed on a slot in whole seconds."""

    key: str
    slot: str
    started: int
    finished: int
    ended: Category
    again: bool = False


@dataclass(slots=True)
class Made:
    """A run that keeps the rules: tasks are offered, then started, each slot one at a time."""

    joined: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When each slot joined, and how long it preloaded before."""
    down: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When a slot was lost, and when it was back."""
    tries: list[Try] = field(default_factory=list)
    offered: dict[str, int] = field(default_factory=dict)
    stage_closed: int = 0
    closed: int = 0


@st.composite
def runs(draw: st.DrawFn) -> Made:
    made = Made()
    small = st.integers(0, 4)
    for slot in ["a", "b", "c"][: draw(st.integers(1, 3))]:
        preload = draw(small)
        clock = joined = preload + draw(small)
        made.joined[slot] = (joined, preload)
        for number in range(draw(st.integers(0, 4))):
            key = f"{slot}{number}"
            started = clock + draw(small)
            made.offered[key] = draw(st.integers(0, started))
            clock = started + draw(st.integers(1, 5))
            ended = draw(st.sampled_from([Category.USEFUL, Category.FAILED]))
            again = ended is Category.FAILED and draw(st.booleans())
            made.tries.append(Try(key, slot, started, clock, ended, again))
            if again:
                started = clock + draw(small)
                clock = started + draw(st.integers(1, 5))
                made.tries.append(Try(key, slot, started, clock, Category.USEFUL))
        if draw(st.booleans()):
            lost = clock + draw(st.integers(1, 4))
            made.down[slot] = (lost, lost + draw(small))
    latest = max(
        *(one.finished for one in made.tries),
        *(joined for joined, _ in made.joined.values()),
        *(back for _, back in made.down.values()),
        0,
        0,
    )
    made.stage_closed = latest + draw(small)
    made.closed = made.stage_closed + draw(small)
    return made


def journal(made: Made) -> Script:
    script = Script().session(0, slots=len(made.joined)).stage(0, kind="stream")
    for slot, (joined, preload) in made.joined.items():
        script.joined(joined, slot, preload_s=preload)
    for slot, (lost, back) in made.down.items():
        script.slot_lost(lost, slot).joined(back, slot)
    for key, at in made.offered.items():
        script.offered(at, key)
    for one in made.tries:
        script.sent(one.started, one.key, slot=one.slot)
        times = (one.started, one.finished)
        if one.ended is Category.USEFUL:
            script.ran(one.finished, [(one.key, *times)], slot=one.slot)
        else:
            script.failed(one.finished, one.key, times, slot=one.slot, again=one.again)
    script.stage_closed(made.stage_closed, offered=len(made.offered)).close(made.closed)
    script.events.sort(key=lambda event: event.at)  # stable: what is written first comes first
    return script


def waits(made: Made, key: str, at: float) -> bool:
    mine = [one for one in made.tries if one.key == key]
    since = made.offered[key]
    for one in mine:
        if since <= at < one.started:
            return True
        since = one.finished
    return False


def free(made: Made, at: float) -> Category:
    """What the time of a slot that is up and runs nothing goes to."""
    over = max(made.stage_closed, *(one.finished for one in made.tries), 0)
    if at >= over:
        return Category.SHUTDOWN
    if any(waits(made, key, at) for key in made.offered):
        return Category.DISPATCH
    if any(one.started > at for one in made.tries):
        return Category.STARVED
    if any(one.finished > at for one in made.tries):
        return Category.TAIL
    return Category.STARVED


def category(made: Made, slot: str, at: float) -> Category:
    for one in made.tries:
        if one.slot == slot and one.started <= at < one.finished:
            return one.ended
    joined, preload = made.joined[slot]
    lost, back = made.down.get(slot, (0, 0))
    if at < joined:
        return Category.STARTUP if at < joined - preload else Category.PRELOAD
    return Category.DEAD if lost <= at < back else free(made, at)


@settings(max_examples=300, deadline=None)
@given(made=runs())
def test_the_ledger_is_what_its_definitions_say(made: Made) -> None:
    expected = dict.fromkeys(Category, 0)
    for slot in made.joined:
        for second in range(made.closed):
            expected[category(made, slot, second + 0.5)] += 1
    assert dict(ledger_of(journal(made).events).seconds) == expected
