"""Sum up the outcomes of an OpenMM ensemble in a few rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hpcflow.core.task import AnyOutcome, Succeeded
from hpcflow.ensembles.openmm.configuration import Plan
from hpcflow.ensembles.openmm.statistics import Mean, combined


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What the outcomes of an ensemble add up to."""

    segments_done: int
    replicas_complete: int
    ended_early: list[str]
    """Keys of the segments that did not succeed; their replicas go no further."""
    ns: float
    held_s: float
    """Time in which slots were held for it [s], start-up included."""
    temperatures: dict[float, Mean]
    """Kinetic temperature by that of the thermostat, ascending [K]."""


def tally_of(plan: Plan, outcomes: Sequence[AnyOutcome], *, held_s: float) -> Tally:
    """Return the totals of the outcomes so far."""
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Succeeded)]
    return Tally(
        segments_done=len(values),
        replicas_complete=sum(value["segment"] == plan.segments - 1 for value in values),
        ended_early=sorted(o.key for o in outcomes if not isinstance(o, Succeeded)),
        ns=sum(value["ns"] for value in values),
        held_s=held_s,
        temperatures=_temperatures(values),
    )


def rows_of(plan: Plan, tally: Tally) -> list[tuple[str, str]]:
    """Return what to print: pairs of what and how much."""
    replicas = len(plan.temperatures_k)
    rows = [
        ("replicas", f"{tally.replicas_complete} of {replicas} complete"),
        ("segments", f"{tally.segments_done} of {replicas * plan.segments} done"),
        ("simulated", f"{tally.ns:.3f} ns"),
    ]
    if tally.ns > 0 and tally.held_s > 0:
        rows.append(("aggregate speed", f"{tally.ns / tally.held_s * 86400:.1f} ns/day"))
    if tally.ended_early:
        rows.append(("replicas ended early", _listed(tally.ended_early)))
    return rows + _temperature_rows(tally.temperatures)


def _temperature_rows(temperatures: Mapping[float, Mean]) -> list[tuple[str, str]]:
    """Show the lowest and the highest temperature, which may be one."""
    if not temperatures:
        return []
    shown = {"lowest temperature": min(temperatures), "highest temperature": max(temperatures)}
    if len(temperatures) == 1:
        shown = {"temperature": min(temperatures)}
    return [(name, _against(kelvin, temperatures[kelvin])) for name, kelvin in shown.items()]


def _against(kelvin: float, kinetic: Mean) -> str:
    return f"{kelvin:.1f} K, kinetic {kinetic.mean:.1f} ± {kinetic.sem:.1f} K"


def _listed(keys: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(f"at {key}" for key in keys[:most])
    return f"{len(keys)}: {shown}{', ...' if len(keys) > most else ''}"


def _temperatures(values: Sequence[Mapping[str, Any]]) -> dict[float, Mean]:
    measured: dict[float, list[Mean]] = {}
    for value in sorted(values, key=lambda value: float(value["temperature_k"])):
        kinetic = msgspec.convert(value["kinetic_temperature_k"], Mean)
        measured.setdefault(value["temperature_k"], []).append(kinetic)
    return {kelvin: combined(means) for kelvin, means in measured.items()}
